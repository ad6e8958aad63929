//! The inventory over HTTP.

use reqwest::Method;
use serde_json::{Value, json};
use turnup_core::policy::Role;

use crate::support::{Intake, deployed, eline, given, run, send, wait};

#[test]
fn a_device_is_added_changed_and_removed() {
    run(async |scope, intake| {
        let body = json!({
            "name": "pe9.eu", "region": "eu", "platform": "sim", "address": "pe9.example", "port": 8300,
            "host_key": "SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "credential": "lab",
        });
        let added = send(intake.post("/v1/devices", &body)).await;
        assert_eq!((added.status, added.header("location")), (201, "/v1/devices/pe9.eu"), "{}", added.body);
        send(intake.post("/v1/devices", &body)).await.is_problem(409, "device_exists");
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
        // Unknown fields are refused before they are removed.
        send(patch(json!({"credentail": null}), merge)).await.has_fault("/credentail", "unknown_field");
        send(patch(json!({"": null}), merge)).await.has_fault("/", "unknown_field");
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
            .map(|n| json!({"name": format!("bulk-{n:02}"), "region": "us", "platform": "sim", "address": format!("10.0.0.{n}")}))
            .chain([json!({"name": "sim-eu-1", "region": "us", "platform": "sim", "address": "10.0.1.1"})])
            .collect();
        let added = send(intake.post("/v1/devices", &json!(devices))).await;
        assert_eq!(added.status, 200, "{}", added.body);
        let items = added.body["items"].as_array().unwrap();
        assert!(items[..30].iter().all(|item| item["status"] == 201));
        assert_eq!(
            (&items[30]["status"], &items[30]["problem"]["code"]),
            (&json!(409), &json!("device_exists"))
        );

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

fn device(name: &str, address: &str) -> Value {
    json!({"name": name, "region": "eu", "platform": "sim", "address": address})
}

fn patch(intake: &Intake, name: &str, body: &Value) -> reqwest::RequestBuilder {
    intake.request(Method::PATCH, &format!("/v1/devices/{name}")).bearer_auth(intake.token()).json(body)
}

#[test]
fn unknown_regions_and_platforms_are_refused() {
    run(async |scope, intake| {
        let with = |region: &str, platform: &str| json!({"name": "pe1", "region": region, "platform": platform, "address": "pe1.example"});
        for dry in ["", "?dry_run=true"] {
            let path = format!("/v1/devices{dry}");
            let refused = send(intake.post(&path, &with("zz", "simm"))).await;
            refused.has_fault("/region", "unknown_region");
            refused.has_fault("/platform", "unknown_platform");
            let said = refused.body.to_string();
            assert!(said.contains("known: eu, us") && said.contains("did you mean sim?"), "{said}");
            let many = json!([with("eu", "sim"), with("eu", "quux")]);
            let refused = send(intake.post(&path, &many)).await;
            refused.has_fault("/1/platform", "unknown_platform");
        }
        intake.show("/v1/devices/pe1").await.is_problem(404, "not_found");
        // A platform that turnup ships, though no definition has it here.
        assert_eq!(send(intake.post("/v1/devices", &with("us", "iosxr"))).await.status, 201);
        send(patch(intake, "pe1", &json!({"region": "nowhere"})))
            .await
            .has_fault("/region", "unknown_region");
        send(patch(intake, "pe1", &json!({"platform": "quux"})))
            .await
            .has_fault("/platform", "unknown_platform");
        // What was configured once can be moved away, and changed otherwise.
        scope.execute("UPDATE devices SET region = 'gone' WHERE name = 'pe1'").await;
        assert_eq!(send(patch(intake, "pe1", &json!({"description": "roof"}))).await.status, 200);
        assert_eq!(send(patch(intake, "pe1", &json!({"region": "eu"}))).await.status, 200);
    });
}

#[test]
fn orders_on_devices_in_unconfigured_regions_are_refused() {
    run(async |scope, intake| {
        let placed = intake.order(&given()).await;
        let service = deployed(scope, &placed).await;
        scope.execute("UPDATE devices SET region = 'eux' WHERE name = 'sim-eu-2'").await;
        // The intake may keep its picture of the inventory for a second.
        wait("the order to be refused", async || {
            send(intake.post("/v1/orders", &eline())).await.status == 422
        })
        .await;
        let refused = send(intake.post("/v1/orders", &eline())).await;
        refused.has_fault("/endpoints/1/device", "unknown_region");
        let said = refused.body["detail"].as_str().unwrap();
        assert!(said.contains("did you mean eu?") && said.contains("turnup device set sim-eu-2"), "{said}");
        let redeploy = json!({"kind": "redeploy", "service_id": service});
        send(intake.post("/v1/orders", &redeploy)).await.has_fault("/service_id", "unknown_region");
    });
}

#[test]
fn one_address_belongs_to_one_device() {
    run(async |_, intake| {
        assert_eq!(send(intake.post("/v1/devices", &device("pe1", "2001:DB8::0:1"))).await.status, 201);
        assert_eq!(send(intake.post("/v1/devices", &device("pe2", "PE2.example."))).await.status, 201);
        assert_eq!(intake.show("/v1/devices/pe2").await.body["address"], "pe2.example");
        for (name, address, other) in
            [("twin", "2001:db8:0:0:0:0:0:1", "pe1"), ("twin", "pe2.EXAMPLE", "pe2")]
        {
            for path in ["/v1/devices", "/v1/devices?dry_run=true"] {
                let refused = send(intake.post(path, &device(name, address))).await;
                refused.is_problem(409, "address_taken");
                let said = refused.body["detail"].as_str().unwrap();
                assert!(said.starts_with(&format!("device {other} has the address")), "{said}");
            }
        }
        let twins =
            json!([device("a1", "192.0.2.7"), device("a2", "::ffff:192.0.2.7"), device("a3", "192.0.2.8")]);
        let dry = send(intake.post("/v1/devices?dry_run=true", &twins)).await.body;
        let added = send(intake.post("/v1/devices", &twins)).await.body;
        for (answer, good) in [(dry, 200), (added, 201)] {
            let statuses: Vec<&Value> =
                answer["items"].as_array().unwrap().iter().map(|item| &item["status"]).collect();
            assert_eq!(statuses, [good, 409, good], "{answer}");
            assert_eq!(answer["items"][1]["problem"]["code"], "address_taken", "{answer}");
        }
        for dry in ["", "?dry_run=true"] {
            let path = format!("pe2{dry}");
            send(patch(intake, &path, &json!({"address": "192.0.2.7"})))
                .await
                .is_problem(409, "address_taken");
        }
        // Another port is another device, and an address that is free again can be taken.
        assert_eq!(
            send(patch(intake, "pe2", &json!({"address": "192.0.2.7", "port": 831}))).await.status,
            200
        );
        assert_eq!(send(patch(intake, "a1", &json!({"address": "192.0.2.9"}))).await.status, 200);
        assert_eq!(send(patch(intake, "pe2", &json!({"port": 830}))).await.status, 200);
        assert_eq!(send(patch(intake, "pe2", &json!({"description": "x"}))).await.status, 200);
    });
}

#[test]
fn devices_with_the_same_host_key_name_each_other() {
    run(async |_, intake| {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
        let fingerprint = "SHA256:mKqU+0K8OhKmA8bBQi9Rz0Q5l7/g160hIP+rJYSTNj4";
        let with = |name: &str, key: &str| {
            json!({"name": name, "region": "eu", "platform": "sim", "address": format!("{name}.example"),
                   "host_key": key})
        };
        let first = send(intake.post("/v1/devices", &with("pe1", key))).await;
        assert_eq!(
            (&first.body["fingerprint"], &first.body["same_host_key"]),
            (&json!(fingerprint), &json!([]))
        );
        let second = send(intake.post("/v1/devices", &with("pe2", fingerprint))).await;
        assert_eq!((second.status, &second.body["same_host_key"]), (201, &json!(["pe1"])), "{}", second.body);
        assert_eq!(intake.show("/v1/devices/pe1").await.body["same_host_key"], json!(["pe2"]));
    });
}

#[test]
fn device_events_say_who_changed_what() {
    run(async |scope, intake| {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
        assert_eq!(send(intake.post("/v1/devices", &device("pe1", "192.0.2.1"))).await.status, 201);
        let changes = json!({"host_key": key, "port": 2830});
        assert_eq!(send(patch(intake, "pe1", &changes)).await.status, 200);
        scope.number_events().await;
        let events = intake.show("/v1/events?subject=devices/pe1").await.body;
        let (added, changed) = (&events["items"][0]["data"], &events["items"][1]["data"]);
        assert_eq!((&added["actor"], added.get("changes")), (&json!("admin"), None), "{events}");
        assert_eq!(changed["actor"], "admin");
        assert_eq!(
            changed["changes"],
            json!({
                "port": {"from": 830, "to": 2830},
                "fingerprint": {"from": null, "to": "SHA256:mKqU+0K8OhKmA8bBQi9Rz0Q5l7/g160hIP+rJYSTNj4"},
            })
        );
    });
}
