//! Plans: of dry runs and of stored orders, as the scheduler would make them.

use serde_json::{Value, json};

use crate::support::{Intake, deployed, eline, given, run, send, with};

async fn dry_run(intake: &Intake, body: &Value) -> Value {
    let answer = send(intake.post("/v1/orders?dry_run=true", body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

async fn stored(intake: &Intake, order: &Value) -> Value {
    let answer = intake.show(&format!("/v1/orders/{}/plan", order["id"].as_str().unwrap())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn does(plan: &Value) -> Vec<&str> {
    plan["devices"].as_array().unwrap().iter().map(|device| device["does"].as_str().unwrap()).collect()
}

#[test]
fn a_dry_run_of_a_provision_shows_everything_and_stores_nothing() {
    run(async |scope, intake| {
        let plan = dry_run(intake, &eline()).await;
        assert_eq!((&plan["region"], &plan["service_id"]), (&json!("eu"), &Value::Null));
        assert_eq!((does(&plan), &plan["empty"]), (vec!["adds", "adds"], &json!(false)));
        let device = &plan["devices"][0];
        assert!(device["edit"].as_str().unwrap().contains("<vlan-id>2</vlan-id>"), "{device}");
        assert!(device["inverse"].as_str().unwrap().contains("remove"));
        assert!(device["diff"].as_str().unwrap().contains('+'), "{device}");
        assert!(device["footprint"].as_str().unwrap().contains("<vc-id>100000</vc-id>"));
        assert!(device["owned"].as_array().unwrap().len() >= 2);
        assert_eq!(
            plan["resources"][0],
            json!({"pool": "vc-id", "scope": "", "value": "100000", "picked": true, "pointer": "/attributes/vc_id"})
        );
        let unchecked =
            json!([{"platform": "sim", "checked": false, "modules": 0, "left_out": [], "unchecked": []}]);
        assert_eq!(plan["yang"], unchecked);
        assert!(plan.get("on_device").is_none());
        for table in ["orders", "order_requests", "resources", "outbox"] {
            assert_eq!(scope.count(table).await, 0, "{table}");
        }
        assert_eq!(dry_run(intake, &eline()).await, plan, "nothing was reserved");

        let mut bad = eline();
        bad["attributes"]["vc_id"] = json!(-1);
        let refused = send(intake.post("/v1/orders?dry_run=true", &bad)).await;
        refused.has_fault("/attributes/vc_id", "out_of_range");
        for path in ["/v1/orders?dry_run=maybe", "/v1/orders?on_device=true"] {
            send(intake.post(path, &eline())).await.is_problem(400, "unreadable");
        }

        // The order gets what the plan showed, and its plan has the same hash though it has an id by now.
        let order = intake.order(&eline()).await;
        let again = stored(intake, &order).await;
        assert_eq!(again["hash"], plan["hash"]);
        assert_eq!(again["service_id"], order["service_id"]);
        assert_eq!(again["resources"][1]["pointer"], "/endpoints/0/attributes/vlan");
        let starting = scope.store.begin_start(&[]).await.unwrap();
        let kept = starting.plan(plan["hash"].as_str().unwrap()).await.unwrap().unwrap();
        assert_eq!(kept["devices"], plan["devices"], "what an approval meant can be shown again");
        assert_ne!(dry_run(intake, &eline()).await["hash"], plan["hash"], "other values by now");
    });
}

#[test]
fn plans_for_a_service_show_what_changes() {
    run(async |scope, intake| {
        let order = intake.order(&given()).await;
        let before = stored(intake, &order).await;
        let service = deployed(scope, &order).await;
        let of_service = |kind: &str| json!({"kind": kind, "service_id": service});

        let same = dry_run(intake, &with(given(), of_service("modify"))).await;
        assert_eq!((does(&same), &same["empty"]), (vec!["nothing", "nothing"], &json!(true)));
        let mut other = with(given(), of_service("modify"));
        other["attributes"]["mtu"] = json!(9000);
        let changed = dry_run(intake, &other).await;
        assert_eq!(does(&changed), ["changes", "changes"]);
        assert!(changed["devices"][0]["diff"].as_str().unwrap().contains("9000"), "{changed}");
        assert_eq!(changed["resources"][0]["picked"], false);
        let again = dry_run(intake, &of_service("redeploy")).await;
        assert_eq!(does(&again), ["writes_again", "writes_again"]);
        assert_eq!(does(&dry_run(intake, &of_service("validate")).await), ["nothing", "nothing"]);
        let removal = dry_run(intake, &of_service("decommission")).await;
        assert_eq!(does(&removal), ["removes", "removes"]);
        assert!(removal["devices"][0]["edit"].as_str().unwrap().contains("remove"));
        assert_eq!(removal["devices"][0]["inverse"], before["devices"][0]["edit"]);
        assert_eq!(removal["devices"][0]["footprint"], Value::Null);

        let order = intake.order(&of_service("decommission")).await;
        let shown = stored(intake, &order).await;
        assert_eq!((&shown["devices"], &shown["hash"]), (&removal["devices"], &removal["hash"]));
        scope.execute("DELETE FROM footprints").await;
        let path = format!("/v1/orders/{}/plan", order["id"].as_str().unwrap());
        intake.show(&path).await.is_problem(409, "conflict");
        scope.execute("DELETE FROM services").await;
        intake.show(&path).await.is_problem(409, "conflict");
    });
}

#[test]
fn a_plan_names_the_orders_that_it_meets() {
    run(async |scope, intake| {
        let order = intake.order(&given()).await;
        let service = deployed(scope, &order).await;
        let redeploy = json!({"kind": "redeploy", "service_id": service, "schedule": "2030-01-01T00:00:00Z"});
        let waiting = intake.order(&redeploy).await;
        let other = intake.order(&eline()).await;
        let plan = dry_run(intake, &json!({"kind": "decommission", "service_id": service})).await;
        let why = |id: &Value| -> Vec<&str> {
            let collisions = plan["collisions"].as_array().unwrap().iter();
            collisions.filter(|it| it["order"] == *id).map(|it| it["why"].as_str().unwrap()).collect()
        };
        assert_eq!(why(&waiting["id"]), ["service"]);
        assert_eq!(why(&other["id"]), ["device", "device"]);
        assert_eq!(plan["collisions"][0]["scheduled_for"], "2030-01-01T00:00:00.000Z");
        let own = stored(intake, &waiting).await;
        assert!(
            own["collisions"].as_array().unwrap().iter().all(|it| it["order"] != waiting["id"]),
            "not itself"
        );
    });
}

#[test]
fn what_would_be_invalid_is_told_as_the_scheduler_would() {
    run(async |scope, intake| {
        let order = intake.order(&given()).await;
        let service = deployed(scope, &order).await;
        // As if the pool had nothing of it, the node is somebody's.
        scope.execute("DELETE FROM resources").await;
        let mut same = given();
        same["attributes"]["vc_id"] = json!(7);
        let refused = send(intake.post("/v1/orders?dry_run=true", &same)).await;
        refused.is_problem(422, "invalid");
        refused.has_fault("", "no_plan");
        let text = refused.body.to_string();
        assert!(text.contains(&service) && text.contains("unit[id='100']"), "{text}");
        // Another value in a node that both would hold.
        let shared = |mbps: u64| {
            let mut order = eline();
            order["attributes"]["bandwidth"] = json!(mbps * 1_000);
            order
        };
        let first = intake.order(&shared(10)).await;
        deployed(scope, &first).await;
        scope.execute("UPDATE shared_nodes SET value = '<other/>'").await;
        let refused = send(intake.post("/v1/orders?dry_run=true", &shared(10))).await;
        refused.is_problem(422, "invalid");
        assert!(refused.body.to_string().contains("shared with service"), "{}", refused.body);
        dry_run(intake, &shared(20)).await;
    });
}

#[test]
fn dry_run_of_a_repetition_names_the_order_that_submitting_finds() {
    run(async |scope, intake| {
        let body = with(eline(), json!({"external_id": "CRM-1"}));
        let first = intake.order(&body).await;
        let id = first["id"].as_str().unwrap();
        // Its values of pools are its own by now, and would be refused to another.
        let plan = dry_run(intake, &body).await;
        assert_eq!(plan["repeats"], json!({"order": id, "state": "requested"}), "{plan}");
        assert_eq!((&plan["devices"], &plan["empty"]), (&json!([]), &json!(true)));
        let keyed =
            |key: &str| intake.post("/v1/orders?dry_run=true", &eline()).header("Idempotency-Key", key);
        assert!(send(keyed("k1")).await.body.get("repeats").is_none(), "another order");
        let keyed_order = send(intake.post("/v1/orders", &eline()).header("Idempotency-Key", "k1")).await;
        assert_eq!(send(keyed("k1")).await.body["repeats"]["order"], keyed_order.body["id"]);

        let other = with(body.clone(), json!({"description": "other"}));
        send(intake.post("/v1/orders?dry_run=true", &other)).await.is_problem(409, "key_reused");

        // An Invalid order is corrected: what submitting makes, and whether it may.
        scope.execute(&format!("UPDATE orders SET state = 'invalid', errors = '[{{\"class\": \"invalid\", \"phase\": \"plan\", \"message\": \"no\"}}]', generation = 1 WHERE id = '{id}'")).await;
        assert_eq!(dry_run(intake, &body).await["repeats"]["state"], "invalid");
        scope.execute(&format!("DELETE FROM resources WHERE '{id}' = ANY (orders)")).await;
        let plan = dry_run(intake, &other).await;
        assert_eq!((&plan["corrects"], plan.get("repeats")), (&json!(id), None), "{plan}");
        assert_eq!(scope.count("orders").await, 2, "nothing was stored");
        let corrected = intake.order(&other).await;
        assert_eq!(corrected["derived_from"], id);
    });
}
