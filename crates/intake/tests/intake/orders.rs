//! Orders over HTTP: every status of the contract.

use serde_json::{Value, json};

use crate::support::{deployed, device, eline, given, run, send, with};

const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

#[test]
fn an_order_is_accepted_shown_and_listed() {
    run(async |scope, intake| {
        let body =
            with(eline(), json!({"external_id": "CRM-7", "description": "R&D <lab>", "priority": "urgent"}));
        let created = send(intake.post("/v1/orders", &body)).await;
        assert_eq!(created.status, 201, "{}", created.body);
        let order = &created.body;
        let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
        assert_eq!(created.header("location"), path);
        assert_eq!(order["state"], "requested");
        assert_eq!(order["actions"], json!(["schedule", "cancel"]));
        assert_eq!(order["region"], "eu");
        assert_eq!(order["devices"], json!(["sim-eu-1", "sim-eu-2"]));
        assert_eq!(order["attributes"]["mtu"], 1500, "defaults are filled in");
        assert_eq!(order["requester"], "admin");
        let at = order["created_at"].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z'), "RFC 3339 UTC with milliseconds: {at}");

        let shown = intake.show(&path).await;
        assert_eq!((shown.status, &shown.body), (200, order), "what was answered is what is stored");
        assert_eq!(
            shown.body["history"][0],
            json!({"seq": 1, "from": null, "to": "requested", "at": at, "why": null, "by": "admin"})
        );

        let other = intake.order(&with(eline(), json!({"schedule": "now"}))).await;
        assert_eq!(other["state"], "scheduled");
        assert_eq!(other["schedule_revision"], 1);
        assert_eq!(other["history"].as_array().unwrap().len(), 2);
        assert_eq!(intake.show(&format!("/v1/orders/{}", other["id"].as_str().unwrap())).await.body, other);
        assert_eq!(
            scope.count("outbox WHERE order_id IS NOT NULL").await,
            1,
            "one is due, the other has no time"
        );

        let ids = |body: &Value| -> Vec<Value> {
            body["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
        };
        let list = async |query: &str| ids(&intake.show(&format!("/v1/orders{query}")).await.body);
        assert_eq!(list("").await, [other["id"].clone(), order["id"].clone()], "newest first");
        assert_eq!(list("?state=requested").await, [order["id"].clone()]);
        assert_eq!(
            list("?state=requested,scheduled&device=sim-eu-1&kind=provision&definition=eline&region=eu")
                .await
                .len(),
            2
        );
        assert_eq!(list("?external_id=CRM-7").await, [order["id"].clone()]);
        assert_eq!(list("?region=us").await.len(), 0);
        assert_eq!(list(&format!("?created_before={at}")).await.len(), 0);
        let page = intake.show("/v1/orders?limit=1").await.body;
        assert_eq!(ids(&page), [other["id"].clone()]);
        let next = list(&format!("?limit=1&cursor={}", page["next_cursor"].as_str().unwrap())).await;
        assert_eq!(next, [order["id"].clone()]);
    });
}

#[test]
fn all_faults_are_reported_at_once() {
    run(async |scope, intake| {
        let body = with(
            eline(),
            json!({"knid": 1, "schedule": "tomorrow", "definition": "elin", "endpoints": [
            {"role": "a", "device": "sim-eu-1x"}, {"role": "z", "device": "sim-eu-2"}]}),
        );
        let refused = send(intake.post("/v1/orders", &body)).await;
        refused.is_problem(422, "invalid");
        refused.has_fault("/knid", "unknown_field");
        refused.has_fault("/schedule", "bad_value");
        refused.has_fault("/definition", "unknown_definition");
        refused.has_fault("/endpoints/0/device", "unknown_device");
        assert_eq!(refused.faults().len(), 4);
        let text = refused.body.to_string();
        assert!(text.contains("did you mean eline"), "{text}");
        assert!(text.contains("sim-eu-1"), "{text}");

        let body = with(
            eline(),
            json!({"attributes": {"vc_id": 0, "colour": "red"}, "endpoints": [
            {"role": "a", "device": "sim-eu-1", "attributes": {"port": "x", "vlan": 9000}},
            {"role": "b", "device": "cpe-eu-1"}, {"role": "z", "device": "nowhere", "attributes": {"vlan": 1}}]}),
        );
        let refused = send(intake.post("/v1/orders", &body)).await;
        for pointer in [
            "/attributes/vc_id",
            "/attributes/colour",
            "/endpoints/0/attributes/vlan",
            "/endpoints/1/role",
            "/endpoints/1/device",
            "/endpoints/2/device",
        ] {
            assert!(
                refused.faults().iter().any(|(at, _)| at == pointer),
                "{pointer} in {:?}",
                refused.faults()
            );
        }
        let unknown = refused.faults().iter().filter(|(_, code)| code == "unknown_device").count();
        assert_eq!(unknown, 1, "each unknown device once: {:?}", refused.faults());
        assert_eq!(scope.count("orders").await, 0);
    });
}

#[test]
fn an_order_over_several_regions_is_found_in_each_of_them() {
    run(async |scope, intake| {
        let mut body = eline();
        body["endpoints"][1]["device"] = json!("sim-us-1");
        let plan = send(intake.post("/v1/orders?dry_run=true", &body)).await;
        assert_eq!((plan.status, &plan.body["region"]), (200, &json!("multi")), "{}", plan.body);
        let order = intake.order(&body).await;
        assert_eq!(order["region"], "multi");
        let stored = intake.show(&format!("/v1/orders/{}/plan", order["id"].as_str().unwrap())).await;
        assert_eq!((stored.status, &stored.body["region"]), (200, &json!("multi")), "{}", stored.body);
        assert_eq!(stored.body["resources"].as_array().unwrap().len(), 3, "{}", stored.body);
        let found = async |region: &str| {
            let found = intake.show(&format!("/v1/orders?region={region}")).await.body;
            found["items"].as_array().unwrap().len()
        };
        assert_eq!((found("eu").await, found("us").await, found("multi").await), (1, 1, 1));
        assert_eq!(found("elsewhere").await, 0);
        // Of orders in one region nothing is different.
        intake.order(&eline()).await;
        assert_eq!((found("eu").await, found("us").await, found("multi").await), (2, 1, 1));
        assert_eq!(scope.count("events WHERE entity = 'order' AND region = 'multi'").await, 1);
    });
}

#[test]
fn a_device_is_known_as_soon_as_it_was_added() {
    run(async |scope, intake| {
        let mut body = eline();
        body["endpoints"][1]["device"] = json!("sim-eu-3");
        for _ in 0..3 {
            send(intake.post("/v1/orders", &body)).await.has_fault("/endpoints/1/device", "unknown_device");
        }
        // By another process, so that nothing here is told of it.
        scope.store.add_devices(&[device("sim-eu-3", "eu", "sim")], "test").await.unwrap();
        intake.order(&body).await;
    });
}

#[test]
fn an_order_is_controlled_within_its_life_cycle() {
    run(async |scope, intake| {
        let order = intake.order(&eline()).await;
        let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
        let act =
            async |action: &str, body: Value| send(intake.post(&format!("{path}/{action}"), &body)).await;

        let refused = act("unschedule", json!({})).await;
        refused.is_problem(409, "conflict");
        assert_eq!(refused.body["legal"], json!(["schedule", "cancel"]));

        let later = act("schedule", json!({"at": "2030-01-31T22:00:00+01:00"})).await;
        assert_eq!(later.status, 200, "{}", later.body);
        assert_eq!(later.body["scheduled_for"], "2030-01-31T21:00:00.000Z");
        assert_eq!(later.body["state"], "scheduled");
        assert_eq!(
            scope.count("outbox WHERE not_before IS NOT NULL").await,
            1,
            "further than the ladder reaches"
        );
        let again = act("schedule", json!({})).await;
        assert_eq!(again.body["schedule_revision"], 2);
        let back = act("unschedule", json!({})).await;
        assert_eq!((back.status, &back.body["state"]), (200, &json!("requested")));
        let no_body = send(
            intake
                .request(reqwest::Method::POST, &format!("{path}/schedule"))
                .bearer_auth(scope.token(turnup_core::policy::Role::Operator)),
        )
        .await;
        assert_eq!((no_body.status, &no_body.body["state"]), (200, &json!("scheduled")));
        assert_eq!(no_body.body["history"][4]["by"], "operator");

        act("schedule", json!({"at": "soon"})).await.has_fault("/at", "bad_value");
        act("schedule", json!({"at": 5})).await.has_fault("/at", "wrong_type");
        act("schedule", json!({"att": "now"})).await.has_fault("/att", "unknown_field");
        act("cancel", json!({"reason": "x\u{0}"})).await.has_fault("/reason", "bad_character");
        act("cancel", json!({"reason": ""})).await.has_fault("/reason", "length");
        act("cancel", json!([])).await.is_problem(422, "invalid");

        let cancelled = act("cancel", json!({"reason": "no longer wanted"})).await;
        assert_eq!((cancelled.status, &cancelled.body["state"]), (200, &json!("cancelled")));
        assert_eq!(cancelled.body["history"][5]["why"], "no longer wanted");
        let seqs: Vec<i64> = cancelled.body["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["seq"].as_i64().unwrap())
            .collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
        let refused = act("schedule", json!({})).await;
        refused.is_problem(409, "conflict");
        assert!(refused.body.get("legal").is_none(), "nothing is");
        act("recreate", json!({"changes": {}})).await.is_problem(409, "conflict");

        for action in ["schedule", "unschedule", "cancel"] {
            let path = format!("/v1/orders/{NOBODY}/{action}");
            send(intake.post(&path, &json!({}))).await.is_problem(404, "not_found");
        }
        for path in [&format!("/v1/orders/{NOBODY}"), "/v1/orders/x", &format!("/v1/orders/{NOBODY}/plan")] {
            intake.show(path).await.is_problem(404, "not_found");
        }
    });
}

#[test]
fn an_invalid_order_is_created_again_with_corrections() {
    run(async |scope, intake| {
        let body = with(eline(), json!({"external_id": "CRM-8", "schedule": "now", "description": "x"}));
        let order = intake.order(&body).await;
        let id = order["id"].as_str().unwrap();
        let path = format!("/v1/orders/{id}/recreate");
        scope
            .execute(&format!("UPDATE orders SET state = 'invalid', generation = 1, errors = '[{{\"class\": \"invalid\", \"phase\": \"edit-config\", \"message\": \"no\"}}]' WHERE id = '{id}'; DELETE FROM resources"))
            .await;
        let changes =
            json!({"changes": {"attributes": {"mtu": 9000}, "description": null, "schedule": "now"}});
        let made = send(intake.post(&path, &changes)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!(made.body["derived_from"], id);
        assert_eq!(made.body["state"], "scheduled");
        assert_eq!(made.body["attributes"]["mtu"], 9000);
        assert_eq!(made.body["attributes"]["vc_id"], order["attributes"]["vc_id"]);
        assert_eq!(made.body["endpoints"], order["endpoints"]);
        assert_eq!((&made.body["external_id"], &made.body["description"]), (&Value::Null, &Value::Null));
        assert_ne!(made.body["service_id"], order["service_id"]);

        let wrong = send(intake.post(&path, &json!({"changes": {"attributes": {"mtu": 1}}}))).await;
        wrong.is_problem(422, "invalid");
        send(intake.post(&path, &json!({}))).await.has_fault("/changes", "missing");
        send(intake.post(&path, &json!({"changes": 1}))).await.has_fault("/changes", "wrong_type");
        // The first correction has the values of the invalid order by now.
        let taken = send(intake.post(&path, &json!({"changes": {}}))).await;
        taken.is_problem(409, "resource_taken");
        let keyed = || {
            let changes =
                json!({"attributes": {"mtu": 2000, "vc_id": null}, "endpoints": eline()["endpoints"]});
            intake.post(&path, &json!({"changes": changes})).header("Idempotency-Key", "again")
        };
        let first = send(keyed()).await;
        assert_eq!(first.status, 201);
        let second = send(keyed()).await;
        assert_eq!((second.status, &second.body["id"]), (200, &first.body["id"]));
    });
}

#[test]
fn a_decommission_order_takes_what_the_service_has() {
    run(async |scope, intake| {
        let order = intake.order(&eline()).await;
        let body = json!({"kind": "decommission", "service_id": order["service_id"]});
        let refused = send(intake.post("/v1/orders", &body)).await;
        refused.has_fault("/service_id", "unknown_service");

        let service = deployed(scope, &order).await;
        let wrong =
            send(intake.post("/v1/orders", &with(body.clone(), json!({"definition": "interface"})))).await;
        wrong.has_fault("/definition", "wrong_definition");
        let keyed = || intake.post("/v1/orders", &body).header("Idempotency-Key", "k");
        let removal = send(keyed()).await;
        assert_eq!(removal.status, 201, "{}", removal.body);
        assert_eq!(removal.body["service_id"], service.as_str());
        for field in ["definition", "region", "devices", "attributes", "endpoints"] {
            assert_eq!(removal.body[field], order[field], "{field}");
        }
        scope.execute("DELETE FROM services").await;
        let repeated = send(keyed()).await;
        assert_eq!((repeated.status, &repeated.body["id"]), (200, &removal.body["id"]), "{}", repeated.body);
        let other = with(body.clone(), json!({"description": "other"}));
        let reused = send(intake.post("/v1/orders", &other).header("Idempotency-Key", "k")).await;
        reused.is_problem(409, "key_reused");
    });
}

#[test]
fn services_are_shown_with_orders_and_configuration() {
    run(async |scope, intake| {
        let order = intake.order(&given()).await;
        let service = deployed(scope, &order).await;
        let list =
            intake.show("/v1/services?state=deployed&definition=eline&region=eu&device=sim-eu-2").await;
        assert_eq!(list.body["items"][0]["id"], service.as_str());
        assert_eq!(intake.show("/v1/services?state=fail_deploy").await.body["items"], json!([]));
        let shown = intake.show(&format!("/v1/services/{service}")).await;
        assert_eq!(shown.body["audit_state"], "not_audited");
        assert_eq!(shown.body["config_audit"], "not_audited");
        assert_eq!(shown.body["wanted_by"], order["id"]);
        assert_eq!(shown.body["in_force"][1], json!({"device": "sim-eu-2", "in_force": "new"}));
        let audited = |state: &str| format!("/v1/services?config_audit={state}&audit_state=not_audited");
        assert_eq!(intake.show(&audited("not_audited")).await.body["items"].as_array().unwrap().len(), 1);
        assert_eq!(intake.show(&audited("drifted")).await.body["items"], json!([]));
        intake.show("/v1/services?config_audit=x").await.is_problem(400, "unreadable");
        assert_eq!(shown.body["orders"][0]["id"], order["id"]);
        let config = intake.show(&format!("/v1/services/{service}/config")).await;
        let devices = config.body["devices"].as_array().unwrap();
        assert_eq!((devices.len(), &devices[0]["device"]), (2, &json!("sim-eu-1")));
        assert!(devices[0]["footprint"]["config"].as_str().unwrap().contains("<vc-id>1001</vc-id>"));
        intake.show(&format!("/v1/services/{NOBODY}")).await.is_problem(404, "not_found");
        intake.show(&format!("/v1/services/{NOBODY}/config")).await.is_problem(404, "not_found");
    });
}

#[test]
fn what_is_shown_is_what_the_description_says() {
    run(async |scope, intake| {
        let order = intake.order(&with(eline(), json!({"schedule": "now"}))).await;
        let service = deployed(scope, &order).await;
        scope.number_events().await;
        let document = turnup_intake::openapi();
        let fields = |schema: &str| -> Vec<String> {
            let properties = &document["components"]["schemas"][schema]["properties"];
            properties.as_object().unwrap().keys().cloned().collect()
        };
        let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let one = async |path: &str| intake.show(path).await.body["items"][0].clone();
        for (schema, value) in [
            ("Order", order.clone()),
            ("HistoryEntry", order["history"][0].clone()),
            ("Service", intake.show(&format!("/v1/services/{service}")).await.body),
            ("Device", one("/v1/devices").await),
            ("Definition", one("/v1/definitions").await),
            ("Fleet", intake.show("/v1/fleet").await.body),
            ("Plan", send(intake.post("/v1/orders?dry_run=true", &eline())).await.body),
            ("ServiceConfig", intake.show(&format!("/v1/services/{service}/config")).await.body),
            ("Pool", one("/v1/pools").await),
            ("Resource", one("/v1/pools/vlan").await),
        ] {
            // What is left out where there is nothing of it.
            let all = fields(schema);
            let required = &document["components"]["schemas"][schema]["required"];
            for key in keys(&value) {
                assert!(all.contains(&key), "{schema} has {key}");
            }
            for key in required.as_array().unwrap() {
                assert!(value.get(key.as_str().unwrap()).is_some(), "{schema} lacks {key}");
            }
        }
        let event = one("/v1/events?type=dev.turnup.order.").await;
        assert!(keys(&event).iter().all(|key| fields("Event").contains(key)), "{event}");
    });
}
