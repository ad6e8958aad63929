//! The inventory over HTTP.

use reqwest::Method;
use serde_json::{Value, json};
use turnup_core::policy::Role;

use crate::support::{eline, run, send, wait};

#[test]
fn a_device_is_added_changed_and_removed() {
    run(async |scope, intake| {
        let body = json!({
            "name": "pe9.eu", "region": "eu", "platform": "sim", "address": "pe9.example", "port": 8300,
            "host_key": "SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "credential": "lab",
        });
        let added = send(intake.post("/v1/devices", &body)).await;
        assert_eq!((added.status, added.header("location")), (201, "/v1/devices/pe9.eu"), "{}", added.body);
        send(intake.post("/v1/devices", &body)).await.is_problem(409, "conflict");
        let shown = intake.show("/v1/devices/pe9.eu").await;
        assert_eq!(shown.body, added.body);

        let patch = |body: Value, content_type: &str| {
            intake
                .request(Method::PATCH, "/v1/devices/pe9.eu")
                .bearer_auth(scope.token(Role::Operator))
                .header("content-type", content_type)
                .body(body.to_string())
        };
        let merge = "application/merge-patch+json";
        let changed = send(patch(json!({"port": 830, "host_key": null, "description": "roof"}), merge)).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        assert_eq!((&changed.body["port"], &changed.body["host_key"]), (&json!(830), &Value::Null));
        assert_eq!(
            (&changed.body["credential"], &changed.body["description"]),
            (&json!("lab"), &json!("roof"))
        );
        assert_eq!(changed.body["created_at"], added.body["created_at"]);
        send(patch(json!({"region": null}), merge)).await.has_fault("/region", "missing");
        send(patch(json!({"name": "other"}), merge)).await.has_fault("/name", "not_allowed");
        send(patch(json!([]), "application/json")).await.is_problem(422, "invalid");
        send(patch(json!({}), "text/plain")).await.is_problem(415, "unsupported_media_type");

        let remove = || {
            send(
                intake.request(Method::DELETE, "/v1/devices/pe9.eu").bearer_auth(scope.token(Role::Operator)),
            )
        };
        assert_eq!(remove().await.status, 204);
        remove().await.is_problem(404, "not_found");
        send(patch(json!({}), merge)).await.is_problem(404, "not_found");
        intake.show("/v1/devices/pe9.eu").await.is_problem(404, "not_found");
        intake.show("/v1/devices/a%20b").await.is_problem(404, "not_found");
    });
}

#[test]
fn many_devices_are_added_at_once_and_listed_by_pages() {
    run(async |_, intake| {
        let devices: Vec<Value> = (0..30)
            .map(|n| json!({"name": format!("bulk-{n:02}"), "region": "us", "platform": "sim", "address": "10.0.0.1"}))
            .chain([json!({"name": "sim-eu-1", "region": "us", "platform": "sim", "address": "10.0.0.1"})])
            .collect();
        let added = send(intake.post("/v1/devices", &json!(devices))).await;
        assert_eq!(added.status, 200, "{}", added.body);
        let items = added.body["items"].as_array().unwrap();
        assert!(items[..30].iter().all(|item| item["status"] == 201));
        assert_eq!((&items[30]["status"], &items[30]["problem"]["code"]), (&json!(409), &json!("conflict")));

        let mut names = Vec::new();
        let mut path = "/v1/devices?region=us&limit=7".to_owned();
        loop {
            let page = intake.show(&path).await.body;
            names.extend(
                page["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["name"].as_str().unwrap().to_owned()),
            );
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/v1/devices?region=us&limit=7&cursor={cursor}");
        }
        assert_eq!(names.len(), 31, "and sim-us-1");
        assert!(names.is_sorted());

        let bad = json!([{"name": "ok-1", "region": "us", "platform": "sim", "address": "10.0.0.1"}, {"name": "b d"}]);
        let refused = send(intake.post("/v1/devices", &bad)).await;
        refused.is_problem(422, "invalid");
        refused.has_fault("/1/name", "bad_value");
        refused.has_fault("/1/region", "missing");
        intake.show("/v1/devices/ok-1").await.is_problem(404, "not_found");
        // What lies in several regions is shown with this one.
        let reserved = json!({"name": "m-1", "region": "multi", "platform": "sim", "address": "10.0.0.1"});
        let refused = send(intake.post("/v1/devices", &reserved)).await;
        refused.has_fault("/region", "bad_value");
        assert!(refused.body["detail"].as_str().unwrap().contains("reserved"), "{}", refused.body);
    });
}

#[test]
fn a_device_in_use_stays() {
    run(async |scope, intake| {
        intake.order(&eline()).await;
        let answer = send(
            intake.request(Method::DELETE, "/v1/devices/sim-eu-1").bearer_auth(scope.token(Role::Admin)),
        )
        .await;
        answer.is_problem(409, "conflict");
    });
}

#[test]
fn the_fleet_shows_queues_and_orders() {
    run(async |_, intake| {
        intake.order(&eline()).await;
        // It reads its own queue from a moment after it answers HTTP.
        wait("the intake to read its queue", async || {
            intake.show("/v1/fleet").await.body["queues"]["intake"]["readers"] == 1
        })
        .await;
        let fleet = intake.show("/v1/fleet").await;
        assert_eq!(fleet.status, 200);
        let regions: Vec<&Value> =
            fleet.body["regions"].as_array().unwrap().iter().map(|r| &r["region"]).collect();
        assert_eq!(regions, ["eu", "us"]);
        assert_eq!(fleet.body["regions"][0]["queues"]["normal"], json!({"ready": 0, "readers": 0}));
        assert_eq!(fleet.body["regions"][0]["workers"], 0);
        assert_eq!(fleet.body["queues"]["intake"], json!({"ready": 0, "readers": 1}));
        assert_eq!(fleet.body["orders"]["requested"], 1);
    });
}
