//! What becomes of orders, from real causes.

use serde_json::{Value, json};
use turnup_device_sim::behaviour::{Behaviour, PhantomLock};
use turnup_tests::{Cluster, Options, cluster::eline, invariants};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";

async fn submit(cluster: &Cluster, order: &Value) -> String {
    let answer = cluster.api.post("/v1/orders", order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        answer.headers["location"].to_str().unwrap(),
        format!("/v1/orders/{}", answer.body["id"].as_str().unwrap())
    );
    answer.body["id"].as_str().unwrap().to_owned()
}

fn states(order: &Value) -> Vec<&str> {
    order["history"].as_array().unwrap().iter().map(|entry| entry["to"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_comes_and_goes() {
    let cluster = Cluster::running(Options::default()).await;
    let id = submit(&cluster, &eline(1, A, Z)).await;
    let order = cluster.order_in(&id, "completed").await;
    assert_eq!(states(&order), ["requested", "scheduled", "in_progress", "completed"]);
    assert_eq!(order["deployments"][0]["state"], "committed");
    let service = order["service_id"].as_str().unwrap().to_owned();
    for device in [A, Z] {
        let config = cluster.running_config(device);
        assert!(config.contains(&format!("eline-{service}")), "{config}");
    }
    let shown = cluster.api.get(&format!("/v1/services/{service}")).await.body;
    assert_eq!(shown["state"], "deployed");
    assert_eq!(shown["audit_state"], "not_audited");

    let gone =
        submit(&cluster, &json!({"kind": "decommission", "service_id": service, "schedule": "now"})).await;
    cluster.order_in(&gone, "completed").await;
    assert_eq!(cluster.api.get(&format!("/v1/services/{service}")).await.status, 404);
    for device in [A, Z] {
        assert!(!cluster.running_config(device).contains(&service));
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_one_device_is_invalid_and_undone_on_all() {
    let cluster = Cluster::running(Options::default()).await;
    let mut order = eline(1, A, Z);
    order["attributes"]["mtu"] = json!(9600);
    let id = submit(&cluster, &order).await;
    let order = cluster.order_in(&id, "invalid").await;
    let error = &order["errors"][0];
    assert_eq!(error["class"], "invalid", "{order}");
    assert_eq!(error["error_tag"], "invalid-value", "{order}");
    assert!(error["path"].as_str().is_some_and(|path| path.contains("mtu")), "{order}");
    assert_eq!(cluster.api.get("/v1/services").await.body["items"], json!([]));

    let corrected = cluster
        .api
        .post(&format!("/v1/orders/{id}/recreate"), &json!({"changes": {"attributes": {"mtu": 9000}}}))
        .await;
    assert_eq!(corrected.status, 201, "{corrected:?}");
    assert_eq!(corrected.body["derived_from"], id.as_str());
    cluster.order_in(corrected.body["id"].as_str().unwrap(), "completed").await;
    invariants::history_is_lawful(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_devices_end_failed_deploy_and_can_be_tried_again() {
    let config = "[scheduler.limits]\nlock_wait_ms = 1500\ntries = 2\nconnect_timeout_ms = 3000\n".to_owned();
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    let cases = [
        ("down", "unreachable", Behaviour { down: true, ..Behaviour::default() }),
        ("locked", "busy", Behaviour { phantom_lock: Some(PhantomLock::default()), ..Behaviour::default() }),
        ("another host key", "distrusted", Behaviour { wrong_host_key: true, ..Behaviour::default() }),
    ];
    for (n, (what, class, behaviour)) in (1..).zip(cases) {
        // Down for a moment, as when it is replaced: a session that is open would know its key already.
        cluster.behave(Z, Behaviour { down: true, ..Behaviour::default() }).await;
        cluster.behave(Z, behaviour).await;
        let id = submit(&cluster, &eline(n, A, Z)).await;
        let order = cluster.order_in(&id, "failed_deploy").await;
        assert!(
            order["errors"]
                .as_array()
                .unwrap()
                .iter()
                .any(|error| error["class"] == class && error["device"] == Z),
            "{what}: {order}"
        );
        invariants::network_is_as_recorded(&cluster).await;
        cluster.behave(Z, Behaviour::default()).await;
        let again = cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
        assert_eq!(again.status, 200, "{again:?}");
        let order = cluster.order_in(&id, "completed").await;
        assert_eq!(order["generation"], 2, "{what}");
        assert_eq!(order["errors"], json!([]), "{what}");
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_on_one_device_never_overlap_and_nobody_takes_anothers_nodes() {
    let cluster = Cluster::running(Options::default()).await;
    let mut orders: Vec<Value> = (1..=40).map(|n| eline(n, A, Z)).collect();
    // Two that describe the same port: the node belongs to the first.
    for n in 1..=2 {
        orders.push(json!({
            "kind": "provision", "definition": "interface", "schedule": "now",
            "attributes": {"name": "ge-0/0/7", "description": format!("number {n}")},
            "endpoints": [{"role": "device", "device": A}],
        }));
    }
    let answers = cluster.api.bulk(&orders).await;
    assert!(answers.iter().all(|answer| answer["order"]["id"].is_string()), "{answers:?}");
    cluster.all_settled(42).await;
    assert_eq!(cluster.count("SELECT count(*) FROM orders WHERE state = 'completed'").await, 41);
    let why: String =
        cluster.query("SELECT errors::text FROM orders WHERE state = 'invalid'").await[0].get(0);
    assert!(why.contains("belongs to service"), "{why}");
    let overlaps = cluster
        .count(
            "WITH runs AS (SELECT entity_id, min(at) FILTER (WHERE to_state = 'in_progress') AS begun, \
             max(at) FILTER (WHERE from_state = 'in_progress') AS ended FROM events WHERE entity = 'order' GROUP BY entity_id) \
             SELECT count(*) FROM runs AS a JOIN runs AS b ON a.entity_id < b.entity_id AND a.begun < b.ended AND b.begun < a.ended \
             WHERE NOT EXISTS (SELECT FROM deployment_orders AS x JOIN deployment_orders AS y USING (deployment_id) \
             WHERE x.order_id::text = a.entity_id AND y.order_id::text = b.entity_id)",
        )
        .await;
    assert_eq!(overlaps, 0, "orders on the same devices at the same time, and not in one deployment");
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}
