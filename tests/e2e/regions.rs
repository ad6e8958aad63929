//! Orders over several regions, each with workers of its own: in force everywhere or nowhere.

use serde_json::{Value, json};
use turnup_device_sim::{
    behaviour::{Act, Behaviour, Fault, Refusal},
    datastore::Kind,
};
use turnup_netconf::message::ErrorTag;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const WEST: &str = "sim-eu-west-1";
const EAST: &str = "sim-us-east-1";

async fn submit(cluster: &Cluster, order: &Value) -> String {
    let answer = cluster.api.post("/v1/orders", order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn check(cluster: &Cluster) {
    invariants::history_is_lawful(cluster).await;
    invariants::nothing_is_stuck(cluster).await;
    invariants::network_is_as_recorded(cluster).await;
}

fn is_on(cluster: &Cluster, device: &str, order: &Value) -> bool {
    cluster.running_config(device).contains(order["service_id"].as_str().unwrap())
}

/// Kinds of the journal's records at a device, in their order.
fn done(cluster: &Cluster, device: &str) -> Vec<Kind> {
    let journal = cluster.simulator.journal().unwrap();
    journal.into_iter().filter(|record| record.device == device).map(|record| record.kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_over_two_regions_lives_its_life() {
    let cluster = Cluster::running(Options::default()).await;
    let id = submit(&cluster, &eline(1, WEST, EAST)).await;
    let order = cluster.order_in(&id, "completed").await;
    assert_eq!(order["region"], "multi");
    let parts = order["deployments"].as_array().unwrap();
    let regions: Vec<&str> = parts.iter().map(|part| part["region"].as_str().unwrap()).collect();
    assert!(regions.len() == 2 && regions.contains(&"eu-west") && regions.contains(&"us-east"), "{order}");
    assert!(parts.iter().all(|part| part["state"] == "committed"), "{order}");
    for device in [WEST, EAST] {
        assert!(is_on(&cluster, device, &order), "{device}");
        assert_eq!(done(&cluster, device), [Kind::Provisional, Kind::Confirmed], "{device}");
    }
    let event = cluster.query("SELECT region FROM events WHERE to_state = 'completed'").await;
    assert_eq!(event[0].get::<_, &str>(0), "multi");

    let service = order["service_id"].clone();
    let mut attributes = order["attributes"].clone();
    attributes["mtu"] = json!(9000);
    let modify = json!({
        "kind": "modify", "service_id": service, "attributes": attributes, "endpoints": order["endpoints"],
        "schedule": "now",
    });
    let modified = submit(&cluster, &modify).await;
    cluster.order_in(&modified, "completed").await;
    for device in [WEST, EAST] {
        assert!(cluster.running_config(device).contains("9000"), "{device}");
    }
    let audit =
        submit(&cluster, &json!({"kind": "validate", "service_id": service, "schedule": "now"})).await;
    cluster.order_in(&audit, "completed").await;
    let shown = cluster.api.get(&format!("/v1/services/{}", service.as_str().unwrap())).await.body;
    assert_eq!((&shown["state"], &shown["audit_state"]), (&json!("deployed"), &json!("up")), "{shown}");

    let gone =
        submit(&cluster, &json!({"kind": "decommission", "service_id": service, "schedule": "now"})).await;
    cluster.order_in(&gone, "completed").await;
    assert!(!is_on(&cluster, WEST, &order) && !is_on(&cluster, EAST, &order));
    check(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_one_region_is_undone_in_the_other() {
    let cluster = Cluster::running(Options::default()).await;
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    let faults = vec![Fault::before("edit-config", refuse)];
    cluster.behave(EAST, Behaviour { faults, ..Behaviour::default() }).await;
    let id = submit(&cluster, &eline(1, WEST, EAST)).await;
    let order = cluster.order_in(&id, "invalid").await;
    assert_eq!(order["errors"][0]["device"], EAST, "{order}");
    assert_eq!(done(&cluster, WEST), [Kind::Provisional, Kind::Cancelled]);
    assert_eq!(done(&cluster, EAST), []);
    assert_eq!(cluster.api.get("/v1/services").await.body["items"], json!([]));
    check(&cluster).await;
}

/// The other region takes longer than what is prepared may wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_late_is_not_waited_for_too_long() {
    let config = "[scheduler.limits]\nconfirm_timeout_s = 4\n".to_owned();
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    cluster.behave(EAST, Behaviour { commit_delay_ms: 3_000, ..Behaviour::default() }).await;
    let id = submit(&cluster, &eline(1, WEST, EAST)).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    let why = order["errors"].to_string();
    assert!(why.contains("confirm_timeout_s"), "{why}");
    assert!(!is_on(&cluster, WEST, &order) && !is_on(&cluster, EAST, &order));
    check(&cluster).await;
    // Once it is quick again, so is the order.
    cluster.behave(EAST, Behaviour::default()).await;
    let again = cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
    assert_eq!(again.status, 200, "{again:?}");
    cluster.order_in(&id, "completed").await;
    check(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_late_bring_it_to_an_end() {
    let config = "[scheduler.limits]\nconfirm_timeout_s = 4\n".to_owned();
    let mut cluster = Cluster::running(Options { config, ..Options::default() }).await;
    cluster.process("worker-us-east").kill();
    let id = submit(&cluster, &eline(1, WEST, EAST)).await;
    turnup_tests::wait::until(
        "the commit in the west to go back by its timer",
        turnup_tests::wait::PATIENCE,
        || async { (done(&cluster, WEST) == [Kind::Provisional, Kind::TimedOut]).then_some(()) },
    )
    .await;
    let why = cluster.command(&["order", "explain", &id]);
    assert!(why.contains("us-east"), "{why}");
    cluster.start("worker-us-east", &["serve", "worker", "--region", "us-east"], &[]);
    let order = cluster.order_in(&id, "failed_deploy").await;
    assert!(!is_on(&cluster, WEST, &order) && !is_on(&cluster, EAST, &order));
    check(&cluster).await;
}

/// A deployment over both regions that ends in doubt: the west confirms, the east never answers until its timer has
/// taken it back.
async fn ends_in_doubt(cluster: &Cluster, n: u32) -> Value {
    let never = ["confirming-commit", "discard-changes"].map(|what| Fault::before(what, Act::Drop).at(0));
    cluster.behave(EAST, Behaviour { faults: never.to_vec(), ..Behaviour::default() }).await;
    // What the west has confirmed can't be taken back for now.
    let refuse = Act::Refuse(Refusal::new(ErrorTag::AccessDenied));
    let faults =
        vec![Fault::before("edit-config", refuse.clone()).at(2), Fault::before("edit-config", refuse).at(3)];
    cluster.behave(WEST, Behaviour { faults, ..Behaviour::default() }).await;
    let id = submit(cluster, &eline(n, WEST, EAST)).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    until("the timer to end", PATIENCE, || async {
        (!cluster.simulator.device(EAST).unwrap().has_pending_commit()).then_some(())
    })
    .await;
    assert!(is_on(cluster, WEST, &order) && !is_on(cluster, EAST, &order), "{order}");
    cluster.behave(WEST, Behaviour::default()).await;
    order
}

async fn again(cluster: &Cluster, id: &str) {
    let answer = cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn in_force(part: &Value) -> Vec<&Value> {
    part["devices"].as_array().unwrap().iter().map(|device| &device["in_force"]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_in_one_region_is_taken_back_or_put_in_force_in_both() {
    let limits = "[scheduler.limits]\ntries = 1\nconfirm_timeout_s = 8\ntotal_timeout_ms = 10000\n";
    let cluster = Cluster::running(Options { config: limits.to_owned(), ..Options::default() }).await;
    let order = ends_in_doubt(&cluster, 1).await;
    let id = order["id"].as_str().unwrap();
    // The east can't say what it has: the order is in doubt as before.
    cluster.behave(EAST, Behaviour { down: true, ..Behaviour::default() }).await;
    again(&cluster, id).await;
    let failed = cluster.order_in_generation(id, "failed_deploy", 2).await;
    let east = failed["deployments"].as_array().unwrap().iter().rfind(|part| part["region"] == "us-east");
    assert_eq!(in_force(east.unwrap()), ["unknown"], "{failed}");
    // It refuses: nothing is left anywhere.
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    let faults = vec![Fault::before("edit-config", refuse)];
    cluster.behave(EAST, Behaviour { faults, ..Behaviour::default() }).await;
    again(&cluster, id).await;
    let refused = cluster.order_in(id, "invalid").await;
    assert!(!is_on(&cluster, WEST, &order) && !is_on(&cluster, EAST, &order), "{refused}");
    let order = ends_in_doubt(&cluster, 2).await;
    let id = order["id"].as_str().unwrap();
    cluster.behave(EAST, Behaviour::default()).await;
    again(&cluster, id).await;
    cluster.order_in(id, "completed").await;
    assert!(is_on(&cluster, WEST, &order) && is_on(&cluster, EAST, &order));
    check(&cluster).await;
}
