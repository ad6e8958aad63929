//! Orders that take completed ones back.

use serde_json::{Value, json};

use crate::support::{Answer, Intake, Scope, deployed, device, eline, given, run, send, with};

fn id(order: &Value) -> &str {
    order["id"].as_str().unwrap()
}

async fn complete(scope: &Scope, order: &Value) {
    let id = id(order);
    scope
        .execute(&format!(
            "UPDATE orders SET state = 'completed', generation = 1, updated_at = now() WHERE id = '{id}'"
        ))
        .await;
}

/// A completed provision order with all its values, and its service.
async fn provisioned(scope: &Scope, intake: &Intake) -> (Value, String) {
    let order = intake.order(&with(given(), json!({"external_id": "CRM-1"}))).await;
    complete(scope, &order).await;
    let service = deployed(scope, &order).await;
    (order, service)
}

/// A completed modify order that gives the service another MTU.
async fn modified(scope: &Scope, intake: &Intake, service: &str, mtu: u32) -> Value {
    let mut order = with(given(), json!({"kind": "modify", "service_id": service}));
    order["attributes"]["mtu"] = json!(mtu);
    let order = intake.order(&order).await;
    complete(scope, &order).await;
    scope
        .execute(&format!(
            "UPDATE services SET attributes = '{}', wanted_by = '{order}', last_order = '{order}' WHERE id = '{service}'",
            order["attributes"],
            order = id(&order),
        ))
        .await;
    order
}

/// A completed decommission order.
async fn decommissioned(scope: &Scope, intake: &Intake, service: &str) -> Value {
    let order = intake.order(&json!({"kind": "decommission", "service_id": service})).await;
    complete(scope, &order).await;
    for table in ["footprints", "owned_nodes", "shared_nodes", "resources"] {
        scope.execute(&format!("DELETE FROM {table} WHERE service_id = '{service}'")).await;
    }
    scope.execute(&format!("DELETE FROM services WHERE id = '{service}'")).await;
    order
}

async fn undo(intake: &Intake, order: &Value, query: &str, body: Value) -> Answer {
    send(intake.post(&format!("/v1/orders/{}/undo{query}", id(order)), &body)).await
}

#[test]
fn undo_of_a_provision_is_a_decommission() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        let made = undo(intake, &order, "", json!({"schedule": "now", "description": "wrong site"})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let made = made.body;
        assert_eq!((&made["kind"], &made["service_id"]), (&json!("decommission"), &json!(service)));
        assert_eq!((&made["undoes"], &made["rests_on"]), (&order["id"], &order["id"]));
        assert_eq!((&made["state"], &made["external_id"]), (&json!("scheduled"), &json!(null)));
        assert_eq!(made["description"], "wrong site");
        assert_eq!(made["history"][0]["why"], format!("undoes order {}", id(&order)));
        assert_eq!(intake.show(&format!("/v1/orders/{}", id(&made))).await.body, made);
        let found = intake.show(&format!("/v1/orders?undoes={}", id(&order))).await.body;
        assert_eq!(found["items"].as_array().unwrap().len(), 1);
        assert_eq!(found["items"][0]["id"], made["id"]);
        let of_other = intake.show(&format!("/v1/orders?undoes={}", id(&made))).await.body;
        assert_eq!(of_other["items"], json!([]));
        let told = format!("events WHERE entity_id = '{}' AND data->>'undoes' = '{}'", id(&made), id(&order));
        assert_eq!(scope.count(&told).await, 2, "every event of the order names it");
    });
}

#[test]
fn completed_order_shows_what_rests_on_it() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        let shown = async |order: &Value| {
            intake.show(&format!("/v1/orders/{}", id(order))).await.body["undo"].clone()
        };
        let before = shown(&order).await;
        assert_eq!(
            (&before["possible"], &before["kind"]),
            (&json!(true), &json!("decommission")),
            "{before}"
        );
        let modify = modified(scope, intake, &service, 9000).await;
        let after = shown(&order).await;
        assert_eq!((&after["possible"], &after["later"]), (&json!(false), &json!([modify["id"]])), "{after}");
        let last = shown(&modify).await;
        assert_eq!((&last["kind"], &last["as_of"]), (&json!("modify"), &order["id"]), "{last}");
        let open = intake.order(&json!({"kind": "redeploy", "service_id": service})).await;
        assert_eq!(shown(&open).await, Value::Null, "it is not Completed");
    });
}

#[test]
fn filters_take_the_references_that_paths_take() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        scope.number_events().await;
        scope.execute(&format!("UPDATE services SET external_id = 'CRM-1' WHERE id = '{service}'")).await;
        let count = async |path: String| {
            let found = intake.show(&path).await;
            assert_eq!(found.status, 200, "{path}: {}", found.body);
            found.body["items"].as_array().unwrap().len()
        };
        for reference in [service.as_str(), &service[..35], "external:CRM-1"] {
            assert_eq!(count(format!("/v1/orders?service_id={reference}")).await, 1, "{reference}");
            let subject = format!("/v1/events?subject=services/{reference}");
            assert_eq!(count(subject).await, 0, "no event of the service itself: {reference}");
        }
        for reference in [id(&order), &id(&order)[..35], "external:CRM-1"] {
            assert_eq!(count(format!("/v1/orders?undoes={reference}")).await, 0, "{reference}");
            // No relay runs here, so no event has a cursor; that the subject is understood is what counts.
            count(format!("/v1/events?subject=orders/{reference}")).await;
        }
        assert_eq!(count("/v1/services?external_id=CRM-1".to_owned()).await, 1);
        assert_eq!(count("/v1/services?external_id=CRM-2".to_owned()).await, 0);
        for bad in [
            "/v1/orders?service_id=CRM-1",
            "/v1/orders?undoes=external:none",
            "/v1/events?subject=orders/none",
            "/v1/events?subject=CRM-1",
        ] {
            let refused = intake.show(bad).await;
            refused.is_problem(400, "unreadable");
            assert!(
                refused.body["detail"].as_str().unwrap().starts_with("query parameter "),
                "{}",
                refused.body
            );
        }
        // The orders of a service that was removed are found by its external id all the same.
        decommissioned(scope, intake, &service).await;
        assert_eq!(count("/v1/orders?service_id=external:CRM-1".to_owned()).await, 2);
    });
}

#[test]
fn undo_of_a_modify_restores_attributes_endpoints_and_version() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        let modify = modified(scope, intake, &service, 9000).await;
        // The service had another version of its definition before.
        scope
            .execute(&format!(
                "UPDATE order_requests SET definition_version = 99 WHERE id = '{}'",
                id(&order)
            ))
            .await;
        let refused = undo(intake, &modify, "", json!({})).await;
        refused.has_fault("/definition_version", "unknown_version");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("the undo is a Modify order with the content of order"), "{detail}");
        scope
            .execute(&format!("UPDATE order_requests SET definition_version = 1 WHERE id = '{}'", id(&order)))
            .await;

        let made = undo(intake, &modify, "", json!({})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        for field in ["definition", "definition_version", "attributes", "endpoints", "service_id", "devices"]
        {
            assert_eq!(made.body[field], order[field], "{field}");
        }
        assert_eq!((&made.body["kind"], &made.body["state"]), (&json!("modify"), &json!("requested")));
        assert_eq!((&made.body["undoes"], &made.body["rests_on"]), (&modify["id"], &modify["id"]));
    });
}

#[test]
fn undo_of_a_decommission_creates_the_same_service_again() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        let decommission = decommissioned(scope, intake, &service).await;
        let plan = undo(intake, &decommission, "?dry_run=true", json!({})).await;
        assert_eq!(plan.status, 200, "{}", plan.body);
        assert_eq!((&plan.body["kind"], &plan.body["service_id"]), (&json!("provision"), &json!(service)));
        assert_eq!(plan.body["devices"][0]["does"], "adds");
        assert_eq!(scope.count("resources").await, 0, "a dry run takes nothing");

        let made = undo(intake, &decommission, "", json!({"schedule": "now"})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!((&made.body["kind"], &made.body["service_id"]), (&json!("provision"), &json!(service)));
        assert_eq!(
            (&made.body["attributes"], &made.body["endpoints"]),
            (&order["attributes"], &order["endpoints"])
        );
        assert_eq!(made.body["resources"], order["resources"]);
        let again = undo(intake, &decommission, "", json!({})).await;
        again.is_problem(409, "service_busy");
        assert!(again.body["detail"].as_str().unwrap().contains(id(&made.body)), "{}", again.body);
    });
}

#[test]
fn undo_names_the_service_that_has_its_value_by_now() {
    run(async |scope, intake| {
        let (_, service) = provisioned(scope, intake).await;
        let decommission = decommissioned(scope, intake, &service).await;
        let mut other = eline();
        other["attributes"]["vc_id"] = json!(1001);
        let other = intake.order(&other).await;
        for query in ["", "?dry_run=true"] {
            let refused = undo(intake, &decommission, query, json!({})).await;
            refused.is_problem(409, "resource_taken");
            refused.has_fault("/attributes/vc_id", "resource_taken");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.contains("1001 of the pool vc-id"), "{detail}");
            assert!(detail.contains(other["service_id"].as_str().unwrap()), "{detail}");
        }
    });
}

#[test]
fn undo_under_later_orders_is_refused_and_to_before_undoes_them_too() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        let first = modified(scope, intake, &service, 9000).await;
        let second = modified(scope, intake, &service, 2000).await;
        let refused = undo(intake, &first, "", json!({})).await;
        refused.is_problem(409, "changed_since");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(id(&second)) && detail.contains("to_before=true"), "{detail}");
        assert_eq!(refused.faults().len(), 1);
        assert_eq!(undo(intake, &order, "", json!({})).await.faults().len(), 2);

        let plan = undo(intake, &first, "?dry_run=true&to_before=true", json!({})).await;
        assert_eq!(plan.status, 200, "{}", plan.body);
        let made = undo(intake, &first, "?to_before=true", json!({})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!((&made.body["kind"], &made.body["attributes"]), (&json!("modify"), &order["attributes"]));
        assert_eq!((&made.body["undoes"], &made.body["rests_on"]), (&first["id"], &second["id"]));
        let busy = undo(intake, &second, "", json!({})).await;
        busy.is_problem(409, "service_busy");
        scope
            .execute(&format!("UPDATE orders SET state = 'cancelled' WHERE id = '{}'", id(&made.body)))
            .await;
        assert_eq!(undo(intake, &order, "?to_before=true", json!({})).await.body["kind"], "decommission");
    });
}

#[test]
fn undo_of_what_changed_nothing_is_refused() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        for kind in ["redeploy", "validate"] {
            let other = intake.order(&json!({"kind": kind, "service_id": service})).await;
            complete(scope, &other).await;
            let refused = undo(intake, &other, "?to_before=true", json!({})).await;
            refused.is_problem(409, "conflict");
            assert!(
                refused.body["detail"].as_str().unwrap().contains("nothing to take back"),
                "{}",
                refused.body
            );
        }
        let same = modified(scope, intake, &service, 1500).await;
        let refused = undo(intake, &same, "", json!({})).await;
        refused.is_problem(409, "conflict");
        assert!(refused.body["detail"].as_str().unwrap().contains("already"), "{}", refused.body);
        let open = intake.order(&with(eline(), json!({"schedule": "2030-01-31T22:00:00Z"}))).await;
        let refused = undo(intake, &open, "", json!({})).await;
        refused.is_problem(409, "conflict");
        assert_eq!(refused.body["legal"], json!(["schedule", "unschedule", "cancel"]));
        decommissioned(scope, intake, &service).await;
        let refused = undo(intake, &order, "?to_before=true", json!({})).await;
        refused.is_problem(409, "conflict");
        assert!(refused.body["detail"].as_str().unwrap().contains("does not exist now"), "{}", refused.body);
    });
}

#[test]
fn repeated_undo_is_the_same_order() {
    run(async |scope, intake| {
        let (order, service) = provisioned(scope, intake).await;
        let modify = modified(scope, intake, &service, 9000).await;
        let keyed = |query: &str, body: Value| {
            let path = format!("/v1/orders/{}/undo{query}", id(&modify));
            send(intake.post(&path, &body).header("Idempotency-Key", "one"))
        };
        let made = keyed("", json!({"schedule": "now"})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        // Also when it has ended, and the service is another by then.
        complete(scope, &made.body).await;
        let again = keyed("", json!({"schedule": "now"})).await;
        assert_eq!((again.status, &again.body["id"]), (200, &made.body["id"]), "{}", again.body);
        keyed("", json!({})).await.is_problem(409, "key_reused");
        keyed("?to_before=true", json!({"schedule": "now"})).await.is_problem(409, "key_reused");
        let named = undo(intake, &order, "?to_before=true", json!({"external_id": "U-1"})).await;
        let again = undo(intake, &order, "?to_before=true", json!({"external_id": "U-1"})).await;
        assert_eq!((again.status, &again.body["id"]), (200, &named.body["id"]), "{}", again.body);
    });
}

#[test]
fn faulty_undo_requests_are_refused_with_what_is_wrong() {
    run(async |scope, intake| {
        let (order, _) = provisioned(scope, intake).await;
        let refused = undo(intake, &order, "", json!({"attributes": {}, "schedule": "now"})).await;
        refused.has_fault("/attributes", "unknown_field");
        undo(intake, &order, "", json!({"schedule": "tomorrow"})).await.has_fault("/schedule", "bad_value");
        let refused = undo(intake, &order, "", json!({"external_id": "a\u{0}b"})).await;
        refused.has_fault("/external_id", "bad_character");
        undo(intake, &order, "?on_device=true", json!({})).await.is_problem(400, "unreadable");
        undo(intake, &order, "?to_before=perhaps", json!({})).await.is_problem(400, "unreadable");
        let nobody = json!({"id": "01890000-0000-7000-8000-000000000000"});
        undo(intake, &nobody, "", json!({})).await.is_problem(404, "not_found");
        let decommission = decommissioned(scope, intake, order["service_id"].as_str().unwrap()).await;
        scope.execute("DELETE FROM devices WHERE name = 'sim-eu-2'").await;
        let refused = || undo(intake, &decommission, "?dry_run=true", json!({}));
        crate::support::wait("the device to be gone", async || refused().await.status == 422).await;
        refused().await.has_fault("/endpoints/1/device", "unknown_device");
        scope.store.add_devices(&[device("sim-eu-2", "eu", "sim")], "test").await.unwrap();
    });
}
