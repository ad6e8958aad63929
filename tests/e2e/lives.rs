//! A service's whole life: provisioned, changed, audited, repaired, failed, and taken away.

use serde_json::{Value, json};
use turnup_device_sim::{behaviour::Behaviour, journal::Record};
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";
const OTHER: &str = "sim-eu-west-3";

/// Sends an order that is to start now, and waits for its end.
async fn order(cluster: &Cluster, mut order: Value, state: &str) -> Value {
    order["schedule"] = json!("now");
    let answer = cluster.api.post("/v1/orders", &order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    cluster.order_in(answer.body["id"].as_str().unwrap(), state).await
}

async fn provision(cluster: &Cluster, n: u32) -> (String, Value) {
    let mut request = eline(n, A, Z);
    let done = order(cluster, request.clone(), "completed").await;
    let fields = request.as_object_mut().unwrap();
    for field in ["schedule", "external_id", "definition"] {
        fields.remove(field);
    }
    let service = done["service_id"].as_str().unwrap().to_owned();
    request["kind"] = json!("modify");
    request["service_id"] = json!(service);
    (service, request)
}

async fn service(cluster: &Cluster, id: &str) -> Value {
    cluster.api.get(&format!("/v1/services/{id}")).await.body
}

/// What a device did since `from`: the leaves that changed, as their paths.
fn changed_since(cluster: &Cluster, device: &str, from: usize) -> Vec<String> {
    let journal: Vec<Record> = cluster.simulator.journal().unwrap();
    let records = journal.iter().skip(from).filter(|record| record.device == device);
    let mut paths: Vec<String> = records
        .flat_map(|record| record.changes.iter().map(|change| change.path.to_string()))
        .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modify_sends_the_smallest_edit_and_moves_endpoints() {
    let cluster = Cluster::running(Options::default()).await;
    let before: Vec<String> = [A, Z, OTHER].iter().map(|device| cluster.running_config(device)).collect();
    let (id, mut modify) = provision(&cluster, 1).await;

    // One attribute of both ends.
    let from = cluster.simulator.journal().unwrap().len();
    modify["attributes"]["mtu"] = json!(9000);
    order(&cluster, modify.clone(), "completed").await;
    for device in [A, Z] {
        assert_eq!(changed_since(&cluster, device, from), ["mtu"], "{device}");
    }
    assert_eq!(service(&cluster, &id).await["attributes"]["mtu"], 9000);

    // The same again: no device is touched.
    let from = cluster.simulator.journal().unwrap().len();
    order(&cluster, modify.clone(), "completed").await;
    assert_eq!(cluster.simulator.journal().unwrap().len(), from, "nothing was to be done");

    // One end moves to another device.
    modify["endpoints"][1]["device"] = json!(OTHER);
    order(&cluster, modify.clone(), "completed").await;
    assert!(cluster.running_config(OTHER).contains(&id));
    assert!(!cluster.running_config(Z).contains(&id), "{}", cluster.running_config(Z));
    assert!(cluster.running_config(A).contains(OTHER), "the peer's name");
    let shown = service(&cluster, &id).await;
    assert_eq!(shown["devices"], json!([A, OTHER]));
    assert_eq!(shown["state"], "deployed");

    order(&cluster, json!({"kind": "decommission", "service_id": id}), "completed").await;
    for (device, before) in [A, Z, OTHER].iter().zip(before) {
        let now = cluster.running_config(device);
        assert!(!now.contains("unit") && !now.contains("pseudowire"), "{device}: {before} {now}");
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_find_drift_and_faults_and_a_redeploy_repairs() {
    let cluster = Cluster::running(Options::default()).await;
    let (id, _) = provision(&cluster, 1).await;
    let validate = json!({"kind": "validate", "service_id": id});
    let audit = || async { cluster.api.get(&format!("/v1/services/{id}/audit")).await };
    assert_eq!(audit().await.status, 404, "not audited yet");

    order(&cluster, validate.clone(), "completed").await;
    let found = audit().await.body;
    assert_eq!((&found["config"], &found["state"]), (&json!("in_sync"), &json!("up")), "{found}");

    // By hand: a value changed, something added, something taken away.
    let a = cluster.simulator.device(A).unwrap();
    let port = "<name>ge-0/0/0</name>";
    a.edit_running(&format!(
        "<interfaces xmlns='urn:turnup:sim'><interface>{port}<unit><id>2</id><mtu>1234</mtu>\
         <ipv4-address>192.0.2.1/30</ipv4-address></unit></interface></interfaces>"
    ))
    .unwrap();
    a.edit_running(&format!(
        "<config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0'>\
         <pseudowires xmlns='urn:turnup:sim'><pseudowire><name>eline-{id}</name>\
         <control-word nc:operation='delete'/></pseudowire></pseudowires></config>"
    ))
    .unwrap();
    a.set_state(&format!("/pseudowires/pseudowire[name='eline-{id}']/state"), Some("down")).unwrap();
    order(&cluster, validate.clone(), "completed").await;
    let found = audit().await.body;
    assert_eq!((&found["config"], &found["state"]), (&json!("drifted"), &json!("down")), "{found}");
    let of_a = found["devices"].as_array().unwrap().iter().find(|device| device["device"] == A).unwrap();
    let mut drifts: Vec<(String, String)> = of_a["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            let path = d["path"].as_str().unwrap();
            (d["drift"].as_str().unwrap().to_owned(), path.rsplit('/').next().unwrap().to_owned())
        })
        .collect();
    drifts.sort();
    let drifts: Vec<(&str, &str)> = drifts.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        drifts,
        [("changed", "mtu"), ("extra", "ipv4-address"), ("missing", "control-word")],
        "{found}"
    );
    let failed = of_a["checks"].as_array().unwrap().iter().find(|check| check["passed"] == false).unwrap();
    assert!(failed["evidence"].as_str().unwrap().contains("down"), "{failed}");
    assert_eq!(found["proposed"], json!({"kind": "redeploy", "service_id": id}));
    let shown = service(&cluster, &id).await;
    assert_eq!((&shown["audit_state"], &shown["config_audit"]), (&json!("down"), &json!("drifted")));
    assert_eq!(shown["state"], "deployed", "an audit says nothing of how it was deployed");

    a.set_state(&format!("/pseudowires/pseudowire[name='eline-{id}']/state"), None).unwrap();
    order(&cluster, found["proposed"].clone(), "completed").await;
    order(&cluster, validate.clone(), "completed").await;
    let found = audit().await.body;
    assert_eq!((&found["config"], &found["state"]), (&json!("in_sync"), &json!("up")), "{found}");

    // A device that is away is no reason for the order to fail: that is the finding.
    cluster.behave(Z, Behaviour { down: true, ..Behaviour::default() }).await;
    order(&cluster, json!({"kind": "validate", "service_id": id, "audit": ["config"]}), "completed").await;
    let found = audit().await.body;
    assert_eq!(found["config"], "unreachable", "{found}");
    let events = cluster.api.get("/v1/events?type=dev.turnup.service.audited.v1").await.body;
    assert_eq!(events["items"].as_array().unwrap().len(), 4, "{events}");
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_modify_leaves_the_old_service_and_says_so() {
    let config = "[scheduler.limits]\ntries = 1\nconnect_timeout_ms = 2000\n".to_owned();
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    let (id, mut modify) = provision(&cluster, 1).await;
    cluster.behave(Z, Behaviour { down: true, ..Behaviour::default() }).await;
    modify["attributes"]["mtu"] = json!(9000);
    let failed = order(&cluster, modify.clone(), "failed_deploy").await;
    let shown = service(&cluster, &id).await;
    assert_eq!(shown["state"], "fail_deploy");
    assert_eq!(shown["attributes"]["mtu"], 1500, "what is in force, not what was tried");
    let knowledge = failed["deployments"][0]["devices"].as_array().unwrap();
    assert!(knowledge.iter().all(|device| device["in_force"] == "old"), "{failed}");
    assert!(cluster.running_config(A).contains("1500"));

    cluster.behave(Z, Behaviour::default()).await;
    order(&cluster, json!({"kind": "redeploy", "service_id": id}), "completed").await;
    assert_eq!(service(&cluster, &id).await["state"], "deployed");
    // The order that failed may be tried again as well.
    let again = failed["id"].as_str().unwrap();
    let answer = cluster.api.post(&format!("/v1/orders/{again}/schedule"), &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    cluster.order_in(again, "completed").await;
    assert_eq!(service(&cluster, &id).await["attributes"]["mtu"], 9000);

    // Refused by a device: Invalid, and Fail Deploy; from there it may be taken away.
    modify["attributes"]["mtu"] = json!(9600);
    order(&cluster, modify, "invalid").await;
    assert_eq!(service(&cluster, &id).await["state"], "fail_deploy");
    order(&cluster, json!({"kind": "decommission", "service_id": id}), "completed").await;
    assert!(!cluster.running_config(A).contains(&id));
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_picked_held_and_given_back_once() {
    let cluster = Cluster::running(Options::default()).await;
    let line = |n: u32| {
        let mut line = eline(n, A, Z);
        line["attributes"].as_object_mut().unwrap().remove("vc_id");
        for end in line["endpoints"].as_array_mut().unwrap() {
            end["attributes"].as_object_mut().unwrap().remove("vlan");
        }
        line
    };
    let first = order(&cluster, line(1), "completed").await;
    let second = order(&cluster, line(2), "completed").await;
    let vc = |order: &Value| order["attributes"]["vc_id"].as_i64().unwrap();
    let vlan = |order: &Value, end: usize| order["endpoints"][end]["attributes"]["vlan"].as_i64().unwrap();
    assert_ne!(vc(&first), vc(&second));
    assert_ne!(vlan(&first, 0), vlan(&second, 0));
    assert_eq!(first["resources"].as_array().unwrap().len(), 3, "{first}");

    // By hand what another has: refused, with who has it.
    let mut clash = line(3);
    clash["attributes"]["vc_id"] = json!(vc(&first));
    let refused = cluster.api.post("/v1/orders", &clash).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(refused.body["code"], "resource_taken");
    assert!(refused.body.to_string().contains(first["service_id"].as_str().unwrap()), "{refused:?}");

    // Cancelled before it starts, and decommissioned: both give back.
    let mut waiting = line(4);
    waiting.as_object_mut().unwrap().remove("schedule");
    let waiting = cluster.api.post("/v1/orders", &waiting).await.body;
    assert_eq!(cluster.count("SELECT count(*) FROM resources").await, 9);
    cluster.api.post(&format!("/v1/orders/{}/cancel", waiting["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(cluster.count("SELECT count(*) FROM resources").await, 6);
    order(&cluster, json!({"kind": "decommission", "service_id": first["service_id"]}), "completed").await;
    assert_eq!(cluster.count("SELECT count(*) FROM resources").await, 3);
    clash["external_id"] = json!("again");
    order(&cluster, clash, "completed").await;
    assert_eq!(cluster.count("SELECT count(*) FROM resources").await, 6);
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_approved_plan_is_deployed() {
    let cluster = Cluster::running(Options::default()).await;
    let shown = cluster.api.post("/v1/orders?dry_run=true", &eline(1, A, Z)).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(shown.body["devices"][0]["diff"].as_str().unwrap().contains("+ "), "{shown:?}");
    let mut approved = eline(1, A, Z);
    approved["approved_plan"] = shown.body["hash"].clone();
    let done = order(&cluster, approved, "completed").await;

    // Approved, and then the service changes before the order comes.
    let id = done["service_id"].as_str().unwrap();
    let mut modify = eline(1, A, Z);
    modify["kind"] = json!("modify");
    modify["service_id"] = json!(id);
    for field in ["external_id", "schedule", "definition"] {
        modify.as_object_mut().unwrap().remove(field);
    }
    modify["attributes"]["mtu"] = json!(2000);
    let shown = cluster.api.post("/v1/orders?dry_run=true", &modify).await.body;
    let mut between = modify.clone();
    between["attributes"]["mtu"] = json!(3000);
    order(&cluster, between, "completed").await;
    modify["approved_plan"] = shown["hash"].clone();
    let refused = order(&cluster, modify, "invalid").await;
    let details = refused["errors"][0]["details"].as_array().unwrap();
    assert!(details[0]["text"].as_str().unwrap().contains("mtu: 1500 -> 2000"), "{refused}");
    assert!(details[1]["text"].as_str().unwrap().contains("mtu: 3000 -> 2000"), "{refused}");
    assert!(cluster.running_config(A).contains("3000"), "the devices were not touched");
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_share_goes_with_the_last() {
    let cluster = Cluster::running(Options::default()).await;
    let mut services = Vec::new();
    for n in 1..=2 {
        let mut line = eline(n, A, Z);
        line["attributes"]["bandwidth"] = json!(100_000);
        let done = order(&cluster, line, "completed").await;
        services.push(done["service_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(cluster.running_config(A).matches("<qos-profile>").count(), 3, "one profile, two users");
    order(&cluster, json!({"kind": "decommission", "service_id": services[0]}), "completed").await;
    let left = cluster.running_config(A);
    assert!(left.contains("<qos-profiles"), "the other one still needs it: {left}");
    order(&cluster, json!({"kind": "decommission", "service_id": services[1]}), "completed").await;
    let left = cluster.running_config(A);
    assert!(!left.contains("qos-profile"), "{left}");
    assert_eq!(cluster.count("SELECT count(*) FROM shared_nodes").await, 0);
    assert_eq!(cluster.count("SELECT count(*) FROM owned_nodes").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_one_order_at_a_time() {
    let cluster = Cluster::running(Options::default()).await;
    let (id, mut modify) = provision(&cluster, 1).await;
    let slow = Behaviour { commit_delay_ms: 1500, ..Behaviour::default() };
    cluster.behave(A, slow).await;
    modify["schedule"] = json!("now");
    modify["attributes"]["mtu"] = json!(2000);
    let first = cluster.api.post("/v1/orders", &modify).await.body;
    modify["attributes"]["mtu"] = json!(3000);
    modify["if_busy"] = json!("refuse");
    let refused = cluster.api.post("/v1/orders", &modify).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(refused.body["code"], "service_busy");
    assert!(refused.body.to_string().contains(first["id"].as_str().unwrap()), "{refused:?}");
    modify["if_busy"] = json!("wait");
    let second = cluster.api.post("/v1/orders", &modify).await.body;
    cluster.order_in(first["id"].as_str().unwrap(), "completed").await;
    cluster.order_in(second["id"].as_str().unwrap(), "completed").await;
    assert_eq!(service(&cluster, &id).await["attributes"]["mtu"], 3000, "in the order of their coming");
    assert!(cluster.running_config(A).contains("3000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_audited_every_so_often() {
    let config = "[scheduler]\naudit_every_ms = 200\n".to_owned();
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    // Its definition says `audit: {every: 6h}`.
    let lan = json!({
        "kind": "provision", "definition": "elan",
        "endpoints": [
            {"role": "site", "device": A, "attributes": {"port": "ge-0/0/1"}},
            {"role": "site", "device": A, "attributes": {"port": "ge-0/0/2", "bandwidth": 2000}},
            {"role": "site", "device": Z, "attributes": {"port": "ge-0/0/1"}},
        ],
    });
    let done = order(&cluster, lan, "completed").await;
    let id = done["service_id"].as_str().unwrap();
    assert_eq!(service(&cluster, id).await["audit_state"], "not_audited", "it is not time yet");
    cluster.query("UPDATE services SET next_audit_at = now()").await;
    until("the audit that is due", PATIENCE, || async {
        (service(&cluster, id).await["audit_state"] == "up").then_some(())
    })
    .await;
    let orders = cluster.api.get(&format!("/v1/orders?service_id={id}&kind=validate")).await.body;
    let orders = orders["items"].as_array().unwrap();
    assert_eq!((orders.len(), &orders[0]["requester"]), (1, &json!("turnup")), "{orders:?}");
    let next = cluster.count("SELECT extract(epoch FROM next_audit_at - now())::bigint FROM services").await;
    assert!((5 * 3600..7 * 3600).contains(&next), "in {next} s");
    invariants::history_is_lawful(&cluster).await;
}
