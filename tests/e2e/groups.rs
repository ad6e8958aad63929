//! Orders that wait for the same devices are deployed together; the guilty alone fail.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use turnup_device_sim::{behaviour::Behaviour, datastore::Kind};
use turnup_tests::{Cluster, Options, cluster::eline, invariants, wait::PATIENCE};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";
const ORDERS: u32 = 100;
/// More than the simulated devices take, and less than the definition allows.
const TOO_LARGE: u32 = 9400;

fn orders(bad: &[u32]) -> Vec<Value> {
    let order = |n| {
        let mut order = eline(n, A, Z);
        if bad.contains(&n) {
            order["attributes"]["mtu"] = json!(TOO_LARGE);
        }
        // All wait for the first device; where they go from there differs.
        order["endpoints"][1]["device"] = json!(format!("sim-eu-west-{}", 2 + n % 3));
        // Most of them want one of three profiles, which are shared.
        if n % 4 != 0 {
            order["attributes"]["bandwidth"] = json!(1000 * (1 + n % 3));
        }
        order
    };
    (0..ORDERS).map(order).collect()
}

async fn slow_cluster() -> Cluster {
    let options = Options { regions: vec![("eu-west".to_owned(), 4)], ..Options::default() };
    let cluster = Cluster::running(options).await;
    for n in 1..=4 {
        let slow = Behaviour { commit_delay_ms: 2000, ..Behaviour::default() };
        cluster.behave(&format!("sim-eu-west-{n}"), slow).await;
    }
    cluster
}

/// Provisional commits at the device that all orders need.
fn commits(cluster: &Cluster) -> usize {
    let journal = cluster.simulator.journal().unwrap();
    journal.iter().filter(|record| record.device == A && record.kind == Kind::Provisional).count()
}

async fn check(cluster: &Cluster, bad: &[u32]) {
    cluster.all_settled(i64::from(ORDERS)).await;
    let ended = cluster
        .query(
            "SELECT external_id, state, errors::text FROM orders JOIN order_requests USING (id) \
             WHERE state <> 'completed' ORDER BY external_id",
        )
        .await;
    let ended: Vec<(String, String, String)> =
        ended.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let wanted: Vec<String> = bad.iter().map(|n| format!("E-{n}")).collect();
    assert_eq!(ended.iter().map(|(id, ..)| id.clone()).collect::<Vec<_>>(), wanted, "{ended:?}");
    for (_, state, errors) in &ended {
        assert_eq!(state, "invalid");
        let errors: Value = serde_json::from_str(errors).unwrap();
        assert!(errors[0]["message"].as_str().unwrap().contains("mtu"), "its own error: {errors}");
    }
    invariants::history_is_lawful(cluster).await;
    invariants::nothing_is_stuck(cluster).await;
    invariants::network_is_as_recorded(cluster).await;
    profiles_are_those_that_are_held(cluster).await;
}

/// What is shared is on a device as long as somebody holds it, and no longer.
async fn profiles_are_those_that_are_held(cluster: &Cluster) {
    let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in cluster.query("SELECT DISTINCT device, node FROM shared_nodes").await {
        held.entry(row.get(0)).or_default().insert(row.get(1));
    }
    for device in cluster.simulator.devices() {
        let running = device.running();
        let rates = running.keys().filter_map(|path| path.strip_suffix("/rate"));
        let found: BTreeSet<String> = rates.map(str::to_owned).collect();
        assert_eq!(found, held.remove(device.name()).unwrap_or_default(), "{}", device.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_orders_for_one_device_take_four_commits_at_most() {
    let cluster = slow_cluster().await;
    cluster.api.bulk(&orders(&[])).await;
    check(&cluster, &[]).await;
    assert!(commits(&cluster) <= 4, "{} commits", commits(&cluster));
    let states = cluster.query("SELECT DISTINCT state FROM deployments").await;
    assert_eq!(states.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["committed"]);
    // A worker that knows no groups can't read what is sent for one.
    let misread = cluster
        .count(
            "SELECT count(*) FROM dispatches JOIN deployment_orders USING (deployment_id) \
             WHERE convert_from(message, 'UTF8') LIKE '{\"schema\":\"turnup.deployment.v1\"%' \
             AND deployment_id IN (SELECT deployment_id FROM deployment_orders GROUP BY 1 HAVING count(*) > 1)",
        )
        .await;
    assert_eq!(misread, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guilty_one_of_a_hundred_is_alone_in_the_end() {
    let cluster = slow_cluster().await;
    cluster.api.bulk(&orders(&[37])).await;
    check(&cluster, &[37]).await;
    // 4 + 2·log2(100)
    assert!(commits(&cluster) <= 17, "{} commits", commits(&cluster));
    let partly = cluster.count("SELECT count(*) FROM deployments WHERE state = 'partly'").await;
    let rejected = cluster.count("SELECT count(*) FROM deployments WHERE state = 'rejected'").await;
    assert_eq!(partly + rejected, 1);
    // Of the devices of the group, an order is told of its own.
    let id = cluster.query("SELECT id::text FROM order_requests WHERE external_id = 'E-36'").await;
    let said = cluster.command(&["order", "explain", id[0].get(0)]);
    assert!(said.contains("in force on sim-eu-west-1 and sim-eu-west-2,"), "{said}");
}

/// Those who wait for a held device are deployed together when it is given back, though each of them came
/// by itself; and who doesn't share a device goes on its way meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn who_queues_behind_a_running_order_goes_together() {
    let cluster = slow_cluster().await;
    let mut all = orders(&[]);
    all.truncate(20);
    for order in &all {
        let answer = cluster.api.post("/v1/orders", order).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    cluster.all_settled(20).await;
    assert!(commits(&cluster) <= 4, "{} commits", commits(&cluster));
    let most = cluster
        .count("SELECT max(orders) FROM (SELECT count(*) AS orders FROM deployment_orders GROUP BY deployment_id) AS sizes")
        .await;
    assert!(most >= 10, "at most {most} went together");
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}

/// The worker dies in the middle of the search for the guilty ones; the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_in_the_middle_of_the_search() {
    for point in ["worker.after_part:2", "worker.after_provisional", "worker.after_confirm_first"] {
        let options = Options {
            regions: vec![("eu-west".to_owned(), 4)],
            config: "[scheduler.limits]\nconfirm_timeout_s = 10\n".to_owned(),
            ..Options::default()
        };
        let mut cluster = Cluster::running(options).await;
        let worker = ["serve", "worker", "--region", "eu-west"];
        cluster.process("worker-eu-west").kill();
        cluster.start("worker-eu-west", &worker, &[("TURNUP_CRASH_POINT", point)]);
        // Two guilty ones: the search takes some parts.
        cluster.api.bulk(&orders(&[3, 77])).await;
        let status = cluster.process("worker-eu-west").wait(PATIENCE);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{point}");
        cluster.start("worker-eu-west", &worker, &[]);
        check(&cluster, &[3, 77]).await;
        let again = cluster.count("SELECT count(*) FROM deployments WHERE attempt > 1").await;
        assert!(again >= 1, "{point}: nobody had to take over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_setting_at_one_each_order_goes_alone() {
    let config = "[scheduler]\ngroup_max_orders = 1\n".to_owned();
    let options = Options { regions: vec![("eu-west".to_owned(), 4)], config, ..Options::default() };
    let cluster = Cluster::running(options).await;
    let mut all = orders(&[]);
    all.truncate(10);
    cluster.api.bulk(&all).await;
    cluster.all_settled(10).await;
    assert_eq!(commits(&cluster), 10);
}

/// Lives of services on a few devices, all at once: provisions, then modifies and decommissions of them mixed,
/// some bad, some that change nothing, some urgent. As the devices are few, most go in groups.
#[tokio::test(flavor = "multi_thread")]
async fn mixed_lives_in_groups_end_as_they_would_alone() {
    let options = Options { regions: vec![("eu-west".to_owned(), 4)], ..Options::default() };
    let cluster = Cluster::running(options).await;
    let mut all = orders(&[11, 40]);
    all.truncate(60);
    cluster.api.bulk(&all).await;
    cluster.all_settled(60).await;
    let services = cluster
        .query(
            "SELECT order_requests.external_id, services.id::text FROM services JOIN order_requests ON order_requests.service_id = services.id \
             JOIN orders ON orders.id = order_requests.id WHERE orders.state = 'completed'",
        )
        .await;
    assert_eq!(services.len(), 58);
    let mut more = Vec::new();
    let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
    for row in &services {
        let n: usize = row.get::<_, String>(0).trim_start_matches("E-").parse().unwrap();
        let service: String = row.get(1);
        let mut order = json!({"schedule": "now", "service_id": service, "external_id": format!("M-{n}")});
        if n.is_multiple_of(7) {
            order["priority"] = json!("urgent");
        }
        order["kind"] = json!(if n.is_multiple_of(3) { "decommission" } else { "modify" });
        let mut state = "completed";
        if !n.is_multiple_of(3) {
            order["attributes"] = all[n]["attributes"].clone();
            order["endpoints"] = all[n]["endpoints"].clone();
            match n % 10 {
                // Nothing changes.
                1 | 2 => {}
                4 => {
                    order["attributes"]["mtu"] = json!(TOO_LARGE);
                    state = "invalid";
                }
                // From one shared profile to another.
                5 => order["attributes"]["bandwidth"] = json!(1000 * (1 + (n + 1) % 3)),
                _ => order["attributes"]["mtu"] = json!(1600),
            }
        }
        *wanted.entry(state).or_default() += 1;
        more.push(order);
    }
    cluster.api.bulk(&more).await;
    cluster.all_settled(60 + i64::try_from(more.len()).unwrap()).await;
    for (state, count) in wanted {
        let query = format!(
            "SELECT count(*) FROM orders JOIN order_requests USING (id) WHERE external_id LIKE 'M-%' AND state = '{state}'"
        );
        assert_eq!(cluster.count(&query).await, count, "{state}");
    }
    let groups = "SELECT count(*) FROM (SELECT FROM deployment_orders GROUP BY deployment_id HAVING count(*) > 1) AS groups";
    assert!(cluster.count(groups).await >= 3);
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
    profiles_are_those_that_are_held(&cluster).await;
}
