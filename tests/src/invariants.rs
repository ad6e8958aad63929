//! What must hold of every cluster, whatever was killed: nothing lost, nothing stuck, nothing done
//! twice in effect, history lawful and gapless.

use std::collections::{BTreeMap, BTreeSet};

use turnup_device_sim::{datastore::Kind, journal::Record};

use crate::Cluster;

/// Checks the database of a cluster in which every order has ended.
///
/// # Panics
/// If an invariant does not hold.
pub async fn history_is_lawful(cluster: &Cluster) {
    let gaps = cluster
        .query(
            "SELECT entity, entity_id FROM events GROUP BY entity, entity_id \
             HAVING min(sequence) <> 1 OR max(sequence) <> count(*) OR count(DISTINCT sequence) <> count(*)",
        )
        .await;
    assert!(gaps.is_empty(), "{} entities have gaps or repetitions in their events", gaps.len());
    let broken = cluster
        .count(
            "SELECT count(*) FROM events AS a JOIN events AS b \
             ON a.entity_id = b.entity_id AND b.sequence = a.sequence + 1 \
             WHERE a.to_state IS NOT NULL AND b.from_state <> a.to_state",
        )
        .await;
    assert_eq!(broken, 0, "history entries that don't begin where the one before ended");
    let differ = cluster
        .count(
            "SELECT count(*) FROM orders JOIN LATERAL \
             (SELECT to_state FROM events WHERE entity_id = orders.id::text ORDER BY sequence DESC LIMIT 1) AS last ON true \
             WHERE last.to_state <> orders.state",
        )
        .await;
    assert_eq!(differ, 0, "orders whose state is not that of their last history entry");
    let terminal = cluster
        .count(
            "SELECT count(*) FROM (SELECT entity_id, count(*) FILTER (WHERE to_state = 'in_progress') AS begun, \
             count(*) FILTER (WHERE from_state = 'in_progress') AS ended FROM events WHERE entity = 'order' \
             GROUP BY entity_id) AS attempts WHERE begun <> ended",
        )
        .await;
    assert_eq!(terminal, 0, "attempts without exactly one end");
}

/// Checks that nothing is held or waits any more.
///
/// # Panics
/// If something is.
pub async fn nothing_is_stuck(cluster: &Cluster) {
    for (what, sql) in [
        ("devices still leased", "SELECT count(*) FROM leases WHERE order_id IS NOT NULL"),
        ("orders still waiting for devices", "SELECT count(*) FROM lease_waits"),
        (
            "deployments without an end",
            "SELECT count(*) FROM deployments WHERE state IN ('pending', 'running', 'in_doubt', 'prepared', 'confirmed')",
        ),
        (
            "completed provisions without their service",
            "SELECT count(*) FROM orders WHERE kind = 'provision' AND state = 'completed' \
             AND NOT EXISTS (SELECT FROM services WHERE services.id = orders.service_id) \
             AND NOT EXISTS (SELECT FROM orders AS d WHERE d.service_id = orders.service_id AND d.kind = 'decommission' AND d.state = 'completed')",
        ),
        (
            "services of orders that did not complete",
            "SELECT count(*) FROM services WHERE NOT EXISTS (SELECT FROM orders WHERE orders.service_id = services.id \
             AND orders.kind = 'provision' AND orders.state = 'completed')",
        ),
    ] {
        assert_eq!(cluster.count(sql).await, 0, "{what}");
    }
}

/// Holds the simulators' journals against the status store: each completed provision is in force
/// on all its devices and took effect there exactly once; nothing else is there; nothing is provisional.
///
/// # Panics
/// If the network is not as the store says.
pub async fn network_is_as_recorded(cluster: &Cluster) {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in cluster.query("SELECT device, service_id::text FROM footprints JOIN services ON services.id = service_id WHERE definition = 'eline'").await {
        wanted.entry(row.get(0)).or_default().insert(row.get(1));
    }
    let journal = cluster.simulator.journal().unwrap();
    for device in cluster.simulator.devices() {
        let wanted = wanted.remove(device.name()).unwrap_or_default();
        let found: BTreeSet<String> = device.running().keys().filter_map(|path| service_of(path)).collect();
        assert_eq!(found, wanted, "services in force on {}", device.name());
        let holds = device.holds();
        assert!(holds.pending.is_none() && holds.armed.is_empty(), "{}: {holds:?}", device.name());
        let twice = taken_effect(&journal, device.name()).into_iter().filter(|(_, times)| *times > 1);
        let twice: Vec<(String, usize)> = twice.collect();
        assert!(twice.is_empty(), "{}: services that took effect more than once: {twice:?}", device.name());
    }
}

/// The service in the name of a pseudowire, at the path of that name.
fn service_of(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/pseudowire[name='eline-")?;
    let (service, leaf) = rest.split_once("']")?;
    (leaf == "/name").then(|| service.to_owned())
}

/// How often each service took effect on a device for good: committed, or provisional and then confirmed.
fn taken_effect(journal: &[Record], device: &str) -> BTreeMap<String, usize> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut provisional: Vec<String> = Vec::new();
    for record in journal.iter().filter(|record| record.device == device) {
        let came = record.changes.iter().filter(|change| change.old.is_none() && change.new.is_some());
        let came: Vec<String> = came.filter_map(|change| service_of(&change.path)).collect();
        match record.kind {
            Kind::Provisional => provisional.extend(came),
            Kind::Armed | Kind::Saved => {}
            Kind::Committed | Kind::Confirmed | Kind::Forgotten => {
                for service in provisional.drain(..).chain(came) {
                    *times.entry(service).or_default() += 1;
                }
            }
            Kind::Cancelled | Kind::TimedOut | Kind::Reverted => provisional.clear(),
        }
    }
    times
}
