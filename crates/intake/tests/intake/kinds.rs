//! Orders for services that exist: modify, redeploy, validate; what they take from the service.

use serde_json::{Value, json};

use crate::support::{Intake, Scope, deployed, device, eline, given, run, send, with};

const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

async fn service(scope: &Scope, intake: &Intake) -> (Value, String) {
    let order = intake.order(&given()).await;
    let service = deployed(scope, &order).await;
    (order, service)
}

#[test]
fn a_modify_order_keeps_the_resources_it_leaves_out() {
    run(async |scope, intake| {
        let (_, service) = service(scope, intake).await;
        let mut wanted = with(eline(), json!({"kind": "modify", "service_id": service}));
        wanted["attributes"]["mtu"] = json!(9000);
        wanted.as_object_mut().unwrap().remove("definition");
        // To another port: the VLAN there is another thing.
        wanted["endpoints"][1]["attributes"]["port"] = json!("ge-0/0/9");
        let order = intake.order(&wanted).await;
        assert_eq!((&order["kind"], &order["service_id"]), (&json!("modify"), &json!(service)));
        assert_eq!(order["attributes"]["vc_id"], 1001, "kept");
        assert_eq!(order["endpoints"][0]["attributes"]["vlan"], 100, "kept");
        assert_eq!(order["endpoints"][1]["attributes"]["vlan"], 2, "picked");
        let resources = order["resources"].as_array().unwrap();
        assert!(resources.contains(&json!({"pool": "vc-id", "scope": "", "value": "1001"})), "{resources:?}");
        assert!(resources.contains(&json!({"pool": "vlan", "scope": "sim-eu-2/ge-0/0/9", "value": "2"})));
        assert_eq!(intake.show(&format!("/v1/orders/{}", order["id"].as_str().unwrap())).await.body, order);
        // The values are the service's, so its own orders may name them; another's may not.
        let explicit = with(given(), json!({"kind": "modify", "service_id": service}));
        intake.order(&explicit).await;
        send(intake.post("/v1/orders", &given())).await.is_problem(409, "resource_taken");
    });
}

#[test]
fn the_devices_of_a_modify_order_are_where_the_service_is_and_where_it_is_to_be() {
    run(async |scope, intake| {
        scope.store.add_devices(&[device("sim-eu-3", "eu", "sim")], "test").await.unwrap();
        let (_, service) = service(scope, intake).await;
        let mut wanted = with(eline(), json!({"kind": "modify", "service_id": service}));
        wanted["endpoints"][1]["device"] = json!("sim-eu-3");
        let order = intake.order(&wanted).await;
        assert_eq!(order["devices"], json!(["sim-eu-1", "sim-eu-2", "sim-eu-3"]));
        wanted["endpoints"][1]["device"] = json!("sim-us-1");
        assert_eq!(intake.order(&wanted).await["region"], "multi");
        // What a failed attempt may have left somewhere counts too.
        scope.execute("UPDATE footprints SET device = 'null-eu-1' WHERE device = 'sim-eu-2'").await;
        let redeploy = intake.order(&json!({"kind": "redeploy", "service_id": service})).await;
        assert_eq!(redeploy["devices"], json!(["null-eu-1", "sim-eu-1", "sim-eu-2"]));
    });
}

#[test]
fn redeploy_and_validate_take_what_the_service_has() {
    run(async |scope, intake| {
        let (order, service) = service(scope, intake).await;
        for kind in ["redeploy", "validate"] {
            let made = intake.order(&json!({"kind": kind, "service_id": service})).await;
            for field in ["definition", "definition_version", "region", "devices", "attributes", "endpoints"]
            {
                assert_eq!(made[field], order[field], "{kind} {field}");
            }
        }
        let validate = json!({"kind": "validate", "service_id": service, "audit": ["config"]});
        assert_eq!(intake.order(&validate).await["audit"], json!(["config"]));
        let both = intake.order(&json!({"kind": "validate", "service_id": service})).await;
        assert_eq!(both["audit"], json!(["config", "functional"]));
    });
}

#[test]
fn orders_for_services_are_refused_for_what_does_not_fit() {
    run(async |scope, intake| {
        let (_, service) = service(scope, intake).await;
        let order = async |body: Value| send(intake.post("/v1/orders", &body)).await;
        for kind in ["modify", "redeploy", "validate", "decommission"] {
            order(json!({"kind": kind, "service_id": NOBODY}))
                .await
                .has_fault("/service_id", "unknown_service");
            let other = json!({"kind": kind, "service_id": service, "definition": "interface"});
            order(other).await.has_fault("/definition", "wrong_definition");
        }
        let modify = with(eline(), json!({"kind": "modify", "service_id": service}));
        let refused = order(with(modify.clone(), json!({"definition_version": 99}))).await;
        refused.has_fault("/definition_version", "unknown_version");
        assert!(refused.body["detail"].as_str().unwrap().contains("there are 1"), "{}", refused.body);
        let refused = order(with(modify.clone(), json!({"endpoints": []}))).await;
        refused.has_fault("/endpoints", "missing_endpoint");
        let refused = order(with(modify, json!({"attributes": {"vc_id": 0}}))).await;
        refused.has_fault("/attributes/vc_id", "out_of_range");
        let refused = order(with(eline(), json!({"definition_version": 2}))).await;
        refused.has_fault("/definition_version", "unknown_version");
        scope.execute("DELETE FROM devices WHERE name = 'sim-eu-2'").await;
        let gone = || order(json!({"kind": "redeploy", "service_id": service}));
        crate::support::wait("the device to be gone", async || gone().await.status == 422).await;
        gone().await.has_fault("/service_id", "unknown_device");
    });
}

#[test]
fn a_busy_service_is_waited_for_or_refused_as_asked() {
    run(async |scope, intake| {
        let (_, service) = service(scope, intake).await;
        let redeploy = json!({"kind": "redeploy", "service_id": service});
        let refuse = with(redeploy.clone(), json!({"if_busy": "refuse"}));
        let first = intake.order(&refuse).await;
        intake.order(&redeploy).await;
        for path in ["/v1/orders", "/v1/orders?dry_run=true"] {
            let refused = send(intake.post(path, &refuse)).await;
            refused.is_problem(409, "service_busy");
            assert!(refused.body["detail"].as_str().unwrap().contains(first["id"].as_str().unwrap()));
            assert_eq!(refused.faults().len(), 2, "{}", refused.body);
        }
        send(intake.post("/v1/orders", &with(redeploy, json!({"if_busy": "maybe"}))))
            .await
            .has_fault("/if_busy", "bad_value");
    });
}
