//! Orders over AMQP, from a client that is not ours.

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use turnup_intake::Settings;

use crate::support::{Foreign, PATIENCE, Scope, eline, run, run_bare, wait, with};

/// The queue of a client, where answers go.
struct Answers {
    queue: String,
    stream: lapin::Consumer,
}

impl Answers {
    async fn new(foreign: &Foreign) -> Self {
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = foreign.channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
        let queue = queue.name().to_string();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consume =
            foreign.channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
        Self { stream: consume.await.unwrap(), queue }
    }

    async fn next(&mut self) -> (String, Value) {
        let delivery =
            timeout(PATIENCE, self.stream.next()).await.expect("an answer in time").unwrap().unwrap();
        let id = delivery.properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default();
        (id, serde_json::from_slice(&delivery.data).unwrap())
    }
}

fn id(message_id: &str) -> BasicProperties {
    BasicProperties::default().with_message_id(message_id.into())
}

#[test]
fn who_wants_an_answer_gets_one() {
    run(async |scope, intake| {
        let foreign = Foreign::connect(scope).await;
        let mut answers = Answers::new(&foreign).await;
        let queue = answers.queue.clone();
        let ask = |name: &str| {
            id(name).with_reply_to(queue.as_str().into()).with_correlation_id(format!("c-{name}").into())
        };
        let good = with(eline(), json!({"external_id": "A-1"})).to_string();
        foreign.publish(good.as_bytes(), ask("good")).await;
        let (correlation, answer) = answers.next().await;
        assert_eq!(correlation, "c-good");
        let order = &answer["accepted"];
        assert_eq!((&order["external_id"], &order["state"]), (&json!("A-1"), &json!("requested")));
        assert_eq!(intake.show(&format!("/v1/orders/{}", order["id"].as_str().unwrap())).await.status, 200);

        let ask = |name: &str| id(name).with_reply_to(queue.as_str().into());
        foreign.publish(good.as_bytes(), ask("good")).await;
        let (correlation, again) = answers.next().await;
        assert_eq!((correlation.as_str(), &again["accepted"]["id"]), ("good", &order["id"]));
        foreign.publish(eline().to_string().as_bytes(), ask("good")).await;
        assert_eq!(answers.next().await.1["problem"]["code"], "key_reused");
        foreign.publish(br#"{"kind": "provision", "definition": "elin"}"#, ask("bad")).await;
        let problem = &answers.next().await.1["problem"];
        assert_eq!(
            (&problem["status"], &problem["errors"][0]["code"]),
            (&json!(422), &json!("unknown_definition"))
        );
        foreign.publish(b"{", ask("broken")).await;
        assert_eq!(answers.next().await.1["problem"]["code"], "unreadable");
        wait("only the unreadable one to be parked", async || scope.parked().await == 1).await;
        wait("the queue to be empty", async || scope.intake_depth().await == 0).await;
        assert_eq!(scope.count("events WHERE what = 'rejected'").await, 0, "who was answered needs no event");
        assert_eq!(scope.count("orders").await, 1);
    });
}

#[test]
fn values_of_pools_are_answered_and_refused_as_over_http() {
    run(async |scope, intake| {
        let foreign = Foreign::connect(scope).await;
        let mut answers = Answers::new(&foreign).await;
        let queue = answers.queue.clone();
        let ask = |name: &str| id(name).with_reply_to(queue.as_str().into());
        foreign.publish(eline().to_string().as_bytes(), ask("picked")).await;
        let picked = answers.next().await.1["accepted"].clone();
        assert_eq!(picked["attributes"]["vc_id"], 100_000, "{picked}");
        assert_eq!(picked["resources"].as_array().unwrap().len(), 3);
        let mut same = eline();
        same["attributes"]["vc_id"] = json!(100_000);
        foreign.publish(same.to_string().as_bytes(), ask("given")).await;
        let problem = answers.next().await.1["problem"].clone();
        let over_http = crate::support::send(intake.post("/v1/orders", &same)).await;
        assert_eq!(problem, over_http.body);
        assert_eq!(problem["code"], "resource_taken");
        // Again, it is the order that it was, whatever is taken by now.
        foreign.publish(eline().to_string().as_bytes(), ask("picked")).await;
        assert_eq!(answers.next().await.1["accepted"]["id"], picked["id"]);
    });
}

#[test]
fn a_refusal_that_nobody_waits_for_is_an_event_and_is_parked() {
    run(async |scope, intake| {
        let foreign = Foreign::connect(scope).await;
        let bad = json!({"kind": "provision", "definition": "elin", "external_id": "A-9"}).to_string();
        foreign.publish(bad.as_bytes(), id("m-bad")).await;
        foreign.publish(b"\xff\xff", BasicProperties::default()).await;
        foreign.publish(bad.as_bytes(), id(&"x".repeat(200))).await;
        wait("all to be parked", async || scope.parked().await == 3).await;
        assert_eq!(scope.intake_depth().await, 0);
        scope.number_events().await;
        let list = intake.show("/v1/events?type=dev.turnup.order.rejected.").await.body;
        let events = list["items"].as_array().unwrap();
        assert_eq!(events.len(), 3, "{events:?}");
        let event = events.iter().find(|event| event["subject"] == "orders/m-bad").unwrap();
        assert_eq!(event["data"]["problem"]["errors"][0]["code"], "unknown_definition");
        assert_eq!(
            (&event["data"]["requester"], &event["correlationid"]),
            (&json!("amqp:guest"), &json!("A-9"))
        );
        let codes: Vec<&Value> = events.iter().map(|event| &event["data"]["problem"]["code"]).collect();
        assert!(codes.contains(&&json!("unreadable")), "{codes:?}");

        let parked = turnup_broker::parked::list(&scope.broker, 10).await.unwrap();
        let reasons: Vec<&str> = parked.iter().map(|one| one.reason.as_str()).collect();
        assert!(reasons.iter().any(|reason| reason.contains("did you mean eline")), "{reasons:?}");
        assert_eq!(scope.count("orders").await, 0);
    });
}

#[test]
fn only_granted_users_may_order() {
    let refused = |settings: Settings, named: bool| {
        run_bare(async move |scope: &Scope| {
            let intake = scope.intake(settings).await;
            let foreign = Foreign::connect(scope).await;
            let mut answers = Answers::new(&foreign).await;
            let properties = id("m").with_reply_to(answers.queue.as_str().into());
            let body = eline().to_string();
            let code = if named {
                foreign.publish(body.as_bytes(), properties).await;
                "forbidden"
            } else {
                foreign.publish_as(body.as_bytes(), properties).await;
                "unauthenticated"
            };
            assert_eq!(answers.next().await.1["problem"]["code"], code);
            assert_eq!(scope.count("orders").await, 0);
            intake.stop().await;
        });
    };
    let only = |user: &str, role| {
        let mut settings = Settings::default();
        // Nobody but this one, not even whom the defaults let in.
        settings.amqp_grants.clear();
        settings.amqp_grants.insert(user.to_owned(), vec![role]);
        settings
    };
    refused(only("somebody", turnup_core::policy::Role::Admin), true);
    refused(only("guest", turnup_core::policy::Role::Auditor), true);
    refused(Settings::default(), false);
}

#[test]
fn an_answer_that_cannot_be_delivered_changes_nothing() {
    run(async |scope, _| {
        let foreign = Foreign::connect(scope).await;
        let body = eline().to_string();
        foreign.publish(body.as_bytes(), id("gone").with_reply_to("nobody-has-this-queue".into())).await;
        wait("the order to be stored", async || scope.count("orders").await == 1).await;
        wait("the message to be settled", async || scope.intake_depth().await == 0).await;

        let due = scope.broker.names().due();
        foreign.publish(body.as_bytes(), id("sly").with_reply_to(due.as_str().into())).await;
        wait("the sly one to be parked", async || scope.parked().await == 1).await;
        assert_eq!(scope.broker.depth(&due).await.unwrap().messages, 0, "our own queues take no answers");
        assert_eq!(scope.count("orders").await, 1);
    });
}

#[test]
fn many_orders_are_stored_in_few_transactions() {
    run_bare(async |scope| {
        let foreign = Foreign::connect(scope).await;
        for n in 0..600 {
            let body = with(eline(), json!({"external_id": format!("M-{n}"), "schedule": "now"})).to_string();
            foreign.publish(body.as_bytes(), id(&format!("m-{n}"))).await;
        }
        let intake = scope.intake(Settings::default()).await;
        wait("all orders to be stored", async || scope.count("orders").await == 600).await;
        let transactions = scope.count("(SELECT DISTINCT xmin::text FROM orders) AS t").await;
        assert!(transactions <= 60, "{transactions} transactions");
        wait("the queue to be empty", async || scope.intake_depth().await == 0).await;
        intake.stop().await;
        assert_eq!(scope.intake_depth().await, 0, "nothing comes back after the intake is gone");
        assert_eq!(scope.count("outbox").await, 600);
    });
}
