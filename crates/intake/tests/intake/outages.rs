//! The database or the broker away: refused at once, recovered without a restart.

use lapin::BasicProperties;
use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;
use turnup_core::policy::Role;
use turnup_intake::Settings;

use crate::{
    proxy::Proxy,
    support::{Answer, Foreign, Intake, Scope, broker_at, eline, run_bare, send, wait},
};

async fn order(scope: &Scope, intake: &Intake) -> Answer {
    let request = intake.request(Method::POST, "/v1/orders").bearer_auth(scope.token(Role::Provisioner));
    send(request.json(&eline())).await
}

/// Refused within 5 s, each of several times.
async fn is_refused(scope: &Scope, intake: &Intake) {
    for _ in 0..4 {
        let since = Instant::now();
        let refused = order(scope, intake).await;
        assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
        refused.is_problem(503, "unavailable");
        assert_eq!(refused.header("retry-after"), "2");
    }
}

async fn missing(intake: &Intake, what: &str) {
    wait("the intake to say what is missing", async || {
        let answer = intake.show("/readyz").await;
        answer.status == 503 && answer.body["errors"][0]["pointer"] == what
    })
    .await;
}

async fn recovers(scope: &Scope, intake: &Intake) {
    wait("orders to be accepted again", async || order(scope, intake).await.status == 201).await;
    wait("the intake to be ready", async || intake.show("/readyz").await.status == 200).await;
}

#[test]
fn without_database_orders_are_refused_and_messages_wait() {
    run_bare(async |scope| {
        let proxy = Proxy::to_database(scope).await;
        let store = scope.store_through(&proxy);
        let settings = Settings { token_cache_ms: 50, ..Settings::default() };
        let intake = scope.intake_with(settings, store, scope.broker.clone()).await;
        assert_eq!(order(scope, &intake).await.status, 201);
        proxy.close();
        is_refused(scope, &intake).await;
        missing(&intake, "/store").await;
        is_refused(scope, &intake).await;
        intake.show("/v1/orders").await.is_problem(503, "unavailable");
        assert_eq!(intake.show("/healthz").await.status, 200);

        let foreign = Foreign::connect(scope).await;
        for n in 0..20 {
            let properties = BasicProperties::default().with_message_id(format!("m-{n}").into());
            foreign.publish(eline().to_string().as_bytes(), properties).await;
        }
        foreign.publish(b"{}", BasicProperties::default()).await;
        wait("the intake to have the messages in hand", async || scope.intake_depth().await == 0).await;
        assert_eq!(scope.parked().await, 0, "nothing is parked for that");

        proxy.reopen();
        recovers(scope, &intake).await;
        let stored = "order_requests WHERE requester = 'amqp:guest'";
        wait("the messages to be accepted", async || scope.count(stored).await == 20).await;
        wait("the bad one to be parked", async || scope.parked().await == 1).await;
        intake.stop().await;
        assert_eq!(scope.intake_depth().await, 0, "all were acknowledged");
    });
}

#[test]
fn messages_held_too_long_go_back_to_their_queue() {
    run_bare(async |scope| {
        let proxy = Proxy::to_database(scope).await;
        let store = scope.store_through(&proxy);
        let settings = Settings { amqp_hold_ms: 500, ..Settings::default() };
        let intake = scope.intake_with(settings, store, scope.broker.clone()).await;
        proxy.close();
        missing(&intake, "/store").await;
        let foreign = Foreign::connect(scope).await;
        let properties = BasicProperties::default().with_message_id("m".into());
        foreign.publish(eline().to_string().as_bytes(), properties).await;
        wait("the message to be back", async || {
            let depth = scope.broker.depth(&scope.broker.names().intake()).await.unwrap();
            depth.messages == 1 && depth.consumers == 0
        })
        .await;
        proxy.reopen();
        wait("the message to be accepted", async || scope.count("orders").await == 1).await;
        intake.stop().await;
    });
}

#[test]
fn without_broker_new_orders_are_refused_and_reading_goes_on() {
    run_bare(async |scope| {
        let proxy = Proxy::to_broker().await;
        let broker = broker_at(&scope.prefix, Some(&proxy));
        let intake = scope.intake_with(Settings::default(), scope.store.clone(), broker).await;
        let first = order(scope, &intake).await;
        assert_eq!(first.status, 201);
        proxy.close();
        missing(&intake, "/broker").await;
        is_refused(scope, &intake).await;
        let list = intake.show("/v1/orders").await;
        assert_eq!((list.status, list.body["items"].as_array().map(Vec::len)), (200, Some(1)));
        let fleet = intake.show("/v1/fleet").await;
        assert_eq!((fleet.status, &fleet.body["queues"]["due"]), (200, &Value::Null));
        proxy.reopen();
        recovers(scope, &intake).await;
        let foreign = Foreign::connect(scope).await;
        foreign.publish(eline().to_string().as_bytes(), BasicProperties::default()).await;
        let stored = "order_requests WHERE requester = 'amqp:guest'";
        wait("orders from the broker to be read again", async || scope.count(stored).await == 1).await;
        intake.stop().await;
    });
}
