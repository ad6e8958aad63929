//! Orders over HTTP: every status of the contract.

use serde_json::{Value, json};

use turnup_core::policy::Role;

use crate::support::{Scope, deployed, device, eline, given, run, send, with};

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
        intake.show("/v1/orders?region=elsewhere").await.is_problem(400, "unreadable");
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

/// What the scheduler does with an order whose content a device refuses.
async fn make_invalid(scope: &Scope, order: &Value) {
    let id = order["id"].as_str().unwrap();
    scope
        .execute(&format!(
            "UPDATE orders SET state = 'invalid', generation = 1, errors = '[{{\"class\": \"invalid\", \"phase\": \
             \"edit-config\", \"message\": \"no\"}}]' WHERE id = '{id}'; DELETE FROM resources"
        ))
        .await;
}

#[test]
fn recreated_order_keeps_external_id_requester_and_time() {
    run(async |scope, intake| {
        let body = with(eline(), json!({"external_id": "CRM-8", "schedule": "now", "description": "x"}));
        let request =
            intake.request(reqwest::Method::POST, "/v1/orders").bearer_auth(scope.token(Role::Provisioner));
        let order = send(request.json(&body)).await.body;
        let id = order["id"].as_str().unwrap();
        let path = format!("/v1/orders/{id}/recreate");
        make_invalid(scope, &order).await;
        send(intake.post(&path, &json!({}))).await.has_fault("/changes", "missing");
        send(intake.post(&path, &json!({"changes": 1}))).await.has_fault("/changes", "wrong_type");
        // Without a difference it would be Invalid again.
        for same in [json!({}), json!({"description": "x"})] {
            send(intake.post(&path, &json!({"changes": same}))).await.has_fault("/changes", "no_change");
        }
        let renamed = json!({"changes": {"external_id": "CRM-9"}});
        send(intake.post(&path, &renamed)).await.has_fault("/changes/external_id", "not_allowed");
        let wrong = send(intake.post(&path, &json!({"changes": {"attributes": {"mtu": 1}}}))).await;
        wrong.is_problem(422, "invalid");

        let changes = json!({"changes": {"attributes": {"mtu": 9000}, "description": null}});
        let made = send(intake.post(&path, &changes)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let new = &made.body;
        assert_eq!((&new["derived_from"], &new["state"]), (&json!(id), &json!("scheduled")));
        assert_eq!((&new["external_id"], &new["description"]), (&json!("CRM-8"), &Value::Null));
        assert_eq!((&new["requester"], &new["history"][0]["by"]), (&json!("provisioner"), &json!("admin")));
        assert_eq!(new["attributes"]["mtu"], 9000);
        assert_eq!(new["attributes"]["vc_id"], order["attributes"]["vc_id"]);
        assert_eq!(new["endpoints"], order["endpoints"]);
        assert_ne!(new["service_id"], order["service_id"]);
        let found = intake.show("/v1/orders/external:CRM-8").await.body;
        assert_eq!(found["id"], new["id"], "the upstream system's number finds the correction");
        let old = intake.show(&format!("/v1/orders/{id}")).await.body;
        assert_eq!((&old["superseded_by"], &old["actions"]), (&new["id"], &json!([])), "{old}");
        scope.number_events().await;
        let events =
            intake.show(&format!("/v1/events?subject=orders/{}", new["id"].as_str().unwrap())).await.body;
        assert_eq!(events["items"][0]["correlationid"], "CRM-8");
        assert_eq!(events["items"][0]["data"]["derived_from"], id);

        // The same again is the same order; another one is refused while the first lives.
        let again = send(intake.post(&path, &changes)).await;
        assert_eq!((again.status, &again.body["id"]), (200, &new["id"]), "{}", again.body);
        let other = json!({"changes": {"attributes": {"mtu": 8000}}});
        let refused = send(intake.post(&path, &other)).await;
        refused.is_problem(409, "conflict");
        let said = refused.body["detail"].as_str().unwrap();
        assert!(said.contains(new["id"].as_str().unwrap()) && said.contains("turnup order cancel"), "{said}");
        let cancel = format!("/v1/orders/{}/cancel", new["id"].as_str().unwrap());
        assert_eq!(send(intake.post(&cancel, &json!({}))).await.status, 200);
        let third = send(intake.post(&path, &other)).await;
        assert_eq!((third.status, &third.body["external_id"]), (201, &json!("CRM-8")), "{}", third.body);
        // An order of a time to come keeps it.
        let later = intake.order(&with(eline(), json!({"schedule": "2040-01-31T22:00:00Z"}))).await;
        make_invalid(scope, &later).await;
        let path = format!("/v1/orders/{}/recreate", later["id"].as_str().unwrap());
        let made = send(intake.post(&path, &json!({"changes": {"attributes": {"mtu": 9000}}}))).await;
        assert_eq!(made.body["scheduled_for"], "2040-01-31T22:00:00.000Z", "{}", made.body);
    });
}

#[test]
fn order_with_the_external_id_of_an_invalid_one_corrects_it() {
    run(async |scope, intake| {
        let first = with(eline(), json!({"external_id": "CRM-9"}));
        let invalid = intake.order(&first).await;
        make_invalid(scope, &invalid).await;
        // A repetition is the same order, faulty or not.
        let again = send(intake.post("/v1/orders", &first)).await;
        assert_eq!((again.status, &again.body["id"]), (200, &invalid["id"]));
        // A second attempt with another fault is told its fault.
        let faulty = with(first.clone(), json!({"attributes": {"mtu": 1}}));
        send(intake.post("/v1/orders", &faulty)).await.is_problem(422, "invalid");
        let corrected = with(first.clone(), json!({"attributes": {"mtu": 9000}}));
        let many: Vec<_> = (0..4).map(|_| send(intake.post("/v1/orders", &corrected))).collect();
        let answers = futures_util::future::join_all(many).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 201)), "{statuses:?}");
        let new = &answers[0].body;
        assert_eq!((&new["derived_from"], &new["external_id"]), (&invalid["id"], &json!("CRM-9")), "{new}");
        assert_eq!(scope.count("orders").await, 2);
        // Late repetitions of both requests find their orders; a third request is another order's.
        let late = send(intake.post("/v1/orders", &first)).await;
        assert_eq!((late.status, &late.body["id"]), (200, &invalid["id"]));
        let third = with(first.clone(), json!({"attributes": {"mtu": 8000}}));
        let refused = send(intake.post("/v1/orders", &third)).await;
        refused.is_problem(409, "key_reused");
        assert!(
            refused.body["detail"].as_str().unwrap().contains(new["id"].as_str().unwrap()),
            "{}",
            refused.body
        );
        // A key is of one request, and says how to correct it.
        let keyed = intake.post("/v1/orders", &eline()).header("Idempotency-Key", "k");
        let order = send(keyed).await.body;
        make_invalid(scope, &order).await;
        let other = intake.post("/v1/orders", &with(eline(), json!({"description": "x"})));
        let refused = send(other.header("Idempotency-Key", "k")).await;
        refused.is_problem(409, "key_reused");
        assert!(
            refused.body["detail"].as_str().unwrap().contains("turnup order recreate"),
            "{}",
            refused.body
        );
    });
}

#[test]
fn ids_are_found_by_their_beginning_and_by_external_id() {
    run(async |scope, intake| {
        let order = intake.order(&with(given(), json!({"external_id": "DST/1"}))).await;
        let service = deployed(scope, &order).await;
        scope.execute("UPDATE services SET external_id = 'DST/1'").await;
        let id = order["id"].as_str().unwrap();
        for path in [&id[..13], &id[..35], &id.replace('-', "")[..20], "external:DST%2F1"] {
            let found = intake.show(&format!("/v1/orders/{path}")).await;
            assert_eq!((found.status, &found.body["id"]), (200, &order["id"]), "{path}: {}", found.body);
            assert_eq!(intake.show(&format!("/v1/orders/{path}/explain")).await.status, 200);
        }
        for path in [&service[..35], "external:DST%2F1"] {
            let found = intake.show(&format!("/v1/services/{path}/config")).await;
            assert_eq!((found.status, &found.body["service_id"]), (200, &json!(service)), "{}", found.body);
        }
        // What names something else says what.
        let said = async |path: String, code: &str| {
            let answer = intake.show(&path).await;
            answer.is_problem(404, code);
            answer.body["detail"].as_str().unwrap().to_owned()
        };
        for beginning in [id, &id[..35]] {
            let text = said(format!("/v1/services/{beginning}"), "other_kind").await;
            assert!(text.contains(&format!("{id} is an order of service {service}")), "{text}");
        }
        let text = said(format!("/v1/orders/{service}"), "other_kind").await;
        assert!(text.contains(&format!("{service} is a service")), "{text}");
        assert!(said("/v1/orders/DST-1".to_owned(), "not_found").await.contains("external:"));
        assert!(said("/v1/orders/01a".to_owned(), "not_found").await.contains("8 characters"));
        said("/v1/orders/ffffffff".to_owned(), "not_found").await;
        said("/v1/orders/external:none".to_owned(), "not_found").await;

        // A beginning that several have.
        let other = intake.order(&eline()).await;
        let common =
            id.bytes().zip(other["id"].as_str().unwrap().bytes()).take_while(|(a, b)| a == b).count();
        let several = intake.show(&format!("/v1/orders/{}", &id[..common.max(8)])).await;
        if common >= 8 {
            several.is_problem(409, "ambiguous_id");
            assert!(several.body["detail"].as_str().unwrap().contains(other["id"].as_str().unwrap()));
        }
        let provisioner =
            intake.request(reqwest::Method::POST, "/v1/orders").bearer_auth(scope.token(Role::Provisioner));
        assert_eq!(send(provisioner.json(&with(eline(), json!({"external_id": "DST/1"})))).await.status, 201);
        intake.show("/v1/orders/external:DST%2F1").await.is_problem(409, "ambiguous_id");

        // One that was removed is not just unknown.
        let removal = intake.order(&json!({"kind": "decommission", "service_id": service})).await;
        let removal = removal["id"].as_str().unwrap();
        scope.execute(&format!("UPDATE orders SET state = 'completed', generation = 1 WHERE id = '{removal}'; DELETE FROM services")).await;
        let text = said(format!("/v1/services/{service}"), "removed").await;
        assert!(text.contains(&format!("removed by order {removal} at ")), "{text}");
    });
}

#[test]
fn mistyped_names_in_filters_are_refused() {
    run(async |_, intake| {
        assert_eq!(intake.show("/v1/orders?region=us&device=sim-eu-1&definition=eline").await.status, 200);
        assert_eq!(intake.show("/v1/services?region=multi").await.status, 200);
        for (path, hint) in [
            ("/v1/orders?region=zz", "known: eu, us"),
            ("/v1/orders?device=sim-eu-11", "did you mean sim-eu-1"),
            ("/v1/services?definition=elin", "did you mean eline"),
            ("/v1/devices?region=uss", "did you mean us?"),
            ("/v1/orders?created_after=2026-11-30", "the time of day and the offset are missing"),
        ] {
            let refused = intake.show(path).await;
            refused.is_problem(400, "unreadable");
            let said = refused.body["detail"].as_str().unwrap();
            assert!(said.contains(hint), "{path}: {said}");
        }
    });
}

#[test]
fn finished_order_has_no_plan() {
    run(async |scope, intake| {
        let order = intake.order(&given()).await;
        deployed(scope, &order).await;
        let id = order["id"].as_str().unwrap();
        scope
            .execute(&format!("UPDATE orders SET state = 'completed', generation = 1 WHERE id = '{id}'"))
            .await;
        let refused = intake.show(&format!("/v1/orders/{id}/plan")).await;
        refused.is_problem(409, "conflict");
        assert!(
            refused.body["detail"].as_str().unwrap().contains("nothing left to plan"),
            "{}",
            refused.body
        );
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
        assert_eq!(devices[0]["strays"], json!([]), "as the description says");
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
