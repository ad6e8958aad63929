//! Orders are taken back on a running system: what the devices have then is what they had before.

use serde_json::{Value, json};
use turnup_tests::{Cluster, Options, cluster::eline, invariants};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";

async fn completed(cluster: &Cluster, order: &Value) -> Value {
    let answer = cluster.api.post("/v1/orders", order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    cluster.order_in(id(&answer.body), "completed").await
}

fn id(order: &Value) -> &str {
    order["id"].as_str().unwrap()
}

fn configs(cluster: &Cluster) -> [String; 2] {
    [A, Z].map(|device| cluster.running_config(device))
}

/// The names of the leaves that changed on the device since `from`.
fn changed_since(cluster: &Cluster, device: &str, from: usize) -> Vec<String> {
    let journal = cluster.simulator.journal().unwrap();
    let records = journal.iter().skip(from).filter(|record| record.device == device);
    let paths = records.flat_map(|record| record.changes.iter().map(|change| change.path.to_string()));
    let mut names: Vec<String> =
        paths.map(|path| path.rsplit('/').next().unwrap_or_default().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// The modify order that gives a service another MTU.
fn mtu(provision: &Value, mtu: u32) -> Value {
    let mut attributes = provision["attributes"].clone();
    attributes["mtu"] = json!(mtu);
    json!({
        "kind": "modify", "service_id": provision["service_id"], "schedule": "now", "attributes": attributes,
        "endpoints": provision["endpoints"],
    })
}

/// Undoes an order by the command line, and gives the order that did.
fn undo(cluster: &Cluster, arguments: &[&str]) -> Value {
    let command = [&["--output", "json", "order", "undo"], arguments, &["--watch"]].concat();
    serde_json::from_str(&cluster.command(&command)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn undone_orders_leave_the_devices_as_before_and_neighbours_alone() {
    let cluster = Cluster::running(Options::default()).await;
    let first = completed(&cluster, &eline(1, A, Z)).await;
    let first_alone = configs(&cluster);
    let service = first["service_id"].as_str().unwrap().to_owned();
    let modify = completed(&cluster, &mtu(&first, 9000)).await;
    // A neighbour on the same ports, which comes later.
    let second = completed(&cluster, &eline(2, A, Z)).await;
    let both = configs(&cluster);

    let plan = cluster.command(&["order", "undo", id(&modify), "--dry-run"]);
    assert!(plan.contains("modify eline") && plan.contains("mtu"), "{plan}");
    assert_eq!(configs(&cluster), both, "a dry run changes nothing");
    let from = cluster.simulator.journal().unwrap().len();
    let undone = undo(&cluster, &[id(&modify)]);
    assert_eq!((&undone["state"], &undone["undoes"]), (&json!("completed"), &modify["id"]));
    for device in [A, Z] {
        assert_eq!(changed_since(&cluster, device, from), ["mtu"], "{device}: the smallest change");
    }
    let shown = cluster.command(&["order", "show", id(&undone)]);
    assert!(shown.contains(&format!("undoes       {}", id(&modify))), "{shown}");

    // The undo undone: the modify order is in force again.
    undo(&cluster, &[id(&undone)]);
    assert_eq!(configs(&cluster), both);

    // The provision order, on which others rest.
    let (code, _, err) = cluster.try_command(&["order", "undo", id(&first)]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains(id(&modify)) && err.contains("--to-before"), "{err}");
    let gone = undo(&cluster, &[id(&first), "--to-before"]);
    assert_eq!(gone["kind"], "decommission");
    assert_eq!(cluster.api.get(&format!("/v1/services/{service}")).await.status, 404);
    for config in configs(&cluster) {
        assert!(!config.contains(&service), "{config}");
        assert!(config.contains(second["service_id"].as_str().unwrap()), "{config}");
    }

    // The decommission undone: the same service, with the values that it had.
    let back = undo(&cluster, &[id(&gone)]);
    assert_eq!((&back["kind"], &back["service_id"]), (&json!("provision"), &first["service_id"]));
    assert_eq!(configs(&cluster), both);
    let shown = cluster.api.get(&format!("/v1/services/{service}")).await.body;
    assert_eq!(
        (&shown["external_id"], &shown["attributes"]["mtu"]),
        (&json!("E-1"), &json!(9000)),
        "{shown}"
    );
    let listed = cluster.command(&["order", "list", "--undoes", id(&gone)]);
    assert!(listed.contains("provision"), "{listed}");

    // The neighbour goes, and the first one goes back to what it was at first.
    undo(&cluster, &[id(&second)]);
    undo(&cluster, &[id(&modify), "--to-before"]);
    assert_eq!(configs(&cluster), first_alone);
    undo(&cluster, &[id(&first), "--to-before"]);
    for config in configs(&cluster) {
        assert!(!config.contains("unit") && !config.contains("pseudowire"), "{config}");
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    let held = cluster.count("SELECT count(*) FROM resources").await;
    assert_eq!(held, 0, "values of pools that nothing needs any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_that_comes_after_another_change_is_invalid_and_changes_nothing() {
    let cluster = Cluster::running(Options::default()).await;
    let first = completed(&cluster, &eline(1, A, Z)).await;
    let modify = completed(&cluster, &mtu(&first, 9000)).await;
    let path = format!("/v1/orders/{}/undo", id(&modify));
    let later = cluster.api.post(&path, &json!({"schedule": "2040-01-31T22:00:00Z"})).await;
    assert_eq!(later.status, 201, "{later:?}");
    let other = completed(&cluster, &mtu(&first, 2000)).await;
    let before = configs(&cluster);
    cluster.api.post(&format!("/v1/orders/{}/schedule", id(&later.body)), &json!({})).await;
    let ended = cluster.order_in(id(&later.body), "invalid").await;
    let why = ended["errors"][0]["message"].as_str().unwrap();
    assert!(why.contains(id(&other)) && why.contains(id(&modify)), "{why}");
    assert_eq!(configs(&cluster), before);
    let service = format!("/v1/services/{}", first["service_id"].as_str().unwrap());
    assert_eq!(cluster.api.get(&service).await.body["state"], "deployed", "no attempt to change it failed");
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}
