//! The same request again is the same order, however many come at once and whichever way.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use lapin::BasicProperties;
use serde_json::{Value, json};
use turnup_core::policy::Role;
use turnup_intake::Settings;

use crate::support::{Foreign, eline, run, run_bare, send, wait, with};

#[test]
fn a_hundred_at_once_with_one_key_are_one_order() {
    run_bare(async |scope| {
        // Two processes, so that the database must decide.
        let settings = Settings { batch: 20, ..Settings::default() };
        let intakes = [scope.intake(settings.clone()).await, scope.intake(settings).await];
        let body = with(eline(), json!({"schedule": "now"}));
        let answers = join_all(
            (0..100).map(|n| send(intakes[n % 2].post("/v1/orders", &body).header("Idempotency-Key", "one"))),
        )
        .await;
        let ids: BTreeSet<String> = answers.iter().map(|answer| answer.body["id"].to_string()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 99);
        assert_eq!(scope.count("orders").await, 1);
        assert_eq!(scope.count("events WHERE entity = 'order'").await, 2);
        assert_eq!(scope.count("outbox").await, 1);
        for intake in intakes {
            intake.stop().await;
        }
    });
}

#[test]
fn keys_and_external_ids_are_the_requesters_own() {
    run(async |scope, intake| {
        let body = with(eline(), json!({"external_id": "CRM-1"}));
        let first = send(intake.post("/v1/orders", &body)).await;
        assert_eq!(first.status, 201);
        let again = send(intake.post("/v1/orders", &body)).await;
        assert_eq!((again.status, &again.body["id"]), (200, &first.body["id"]));
        assert_eq!(again.header("location"), first.header("location"));
        let reordered: Value = serde_json::from_str(&body.to_string()).unwrap();
        assert_eq!(send(intake.post("/v1/orders", &reordered)).await.status, 200);
        let other = with(body.clone(), json!({"description": "other"}));
        let refused = send(intake.post("/v1/orders", &other)).await;
        refused.is_problem(409, "key_reused");
        assert!(refused.body["detail"].as_str().unwrap().contains(first.body["id"].as_str().unwrap()));

        let somebody = |body: &Value| {
            let request = intake.request(reqwest::Method::POST, "/v1/orders");
            send(request.bearer_auth(scope.token(Role::Operator)).json(body))
        };
        assert_eq!(somebody(&other).await.status, 201, "another requester's id is another id");

        let keyed =
            |key: &str, body: &Value| send(intake.post("/v1/orders", body).header("Idempotency-Key", key));
        assert_eq!(keyed("k1", &eline()).await.status, 201);
        assert_eq!(keyed("k2", &eline()).await.status, 201, "without external id each key is an order");
        keyed("k1", &with(eline(), json!({"schedule": "now"}))).await.is_problem(409, "key_reused");
        let long = keyed(&"k".repeat(129), &eline()).await;
        long.is_problem(422, "invalid");
        long.has_fault("", "bad_key");
        let both = send(
            intake.post("/v1/orders", &eline()).header("Idempotency-Key", "a").header("Idempotency-Key", "b"),
        )
        .await;
        both.is_problem(400, "unreadable");
    });
}

#[test]
fn a_message_published_twice_is_one_order() {
    run(async |scope, intake| {
        let foreign = Foreign::connect(scope).await;
        let body = eline().to_string();
        for _ in 0..10 {
            foreign.publish(body.as_bytes(), BasicProperties::default().with_message_id("m-1".into())).await;
        }
        for _ in 0..3 {
            foreign.publish(body.as_bytes(), BasicProperties::default()).await;
        }
        wait("all messages to be settled", async || {
            scope.count("orders").await == 4 && scope.intake_depth().await == 0
        })
        .await;
        let list = intake.show("/v1/orders").await.body;
        assert!(list["items"].as_array().unwrap().iter().all(|order| order["requester"] == "amqp:guest"));
        assert_eq!(scope.parked().await, 0);
    });
}
