//! The planner's properties once more, on the whole system: whatever services come, change and go, in any
//! order, a device has what all of them want together and nothing else.

use serde_json::{Value, json};
use turnup_tests::{Cluster, Options, invariants};

/// Numbers from a seed, the same each time: a run that fails can be repeated.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Steps of one run. More where `TURNUP_SOAK` is set.
fn steps() -> u64 {
    if std::env::var_os("TURNUP_SOAK").is_some() { 600 } else { 40 }
}

const REGION: &str = "eu-west";
const DEVICES: u64 = 3;

fn device(n: u64) -> String {
    format!("sim-{REGION}-{}", n + 1)
}

/// Three ports on each device, as from the factory.
const PORTS: &str = "<interfaces xmlns='urn:turnup:sim'>\
    <interface><name>ge-0/0/0</name></interface><interface><name>ge-0/0/1</name><description>to the core</description>\
    </interface><interface><name>ge-0/0/2</name></interface></interfaces>";

async fn order(cluster: &Cluster, mut order: Value, seed: u64) -> Value {
    order["schedule"] = json!("now");
    let answer = cluster.api.post("/v1/orders", &order).await;
    assert_eq!(answer.status, 201, "seed {seed}: {answer:?}");
    cluster.order_in(answer.body["id"].as_str().unwrap(), "completed").await
}

/// A LAN with one to three sites anywhere; VLANs and all else that must be unique come from pools.
fn lan(dice: &mut Dice) -> Value {
    let sites: Vec<Value> = (0..=dice.roll(3))
        .map(|_| {
            let mut attributes = json!({"port": format!("ge-0/0/{}", dice.roll(3))});
            // Few, so that profiles are shared.
            if dice.roll(2) == 0 {
                attributes["bandwidth"] = json!((1 + dice.roll(2)) * 10_000);
            }
            json!({"role": "site", "device": device(dice.roll(DEVICES)), "attributes": attributes})
        })
        .collect();
    let mut attributes = json!({"mtu": 1500 + dice.roll(2) * 7500});
    if dice.roll(2) == 0 {
        attributes["description"] = json!("a < b & 'c'");
    }
    json!({"definition": "elan", "attributes": attributes, "endpoints": sites})
}

/// What the devices should have: the ports, and what every service has by its own word.
async fn devices_are_as_wanted(cluster: &Cluster, services: &[String], seed: u64, step: u64) {
    let mut wanted: Vec<Vec<String>> = (0..DEVICES).map(|_| vec![PORTS.to_owned()]).collect();
    for service in services {
        let config = cluster.api.get(&format!("/v1/services/{service}/config")).await.body;
        for row in config["devices"].as_array().unwrap() {
            let at = (0..DEVICES).find(|n| row["device"] == json!(device(*n))).unwrap();
            wanted[usize::try_from(at).unwrap()]
                .push(row["footprint"]["config"].as_str().unwrap().to_owned());
        }
    }
    for (n, configs) in (0..).zip(wanted) {
        // A device that never had anything else.
        let fresh = cluster.simulator.device(&format!("sim-spare-{}", n + 1)).unwrap();
        fresh
            .edit_running(
                "<edit-config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'><target><candidate/></target>\
             <default-operation>replace</default-operation><config/></edit-config>",
            )
            .unwrap();
        for config in configs {
            fresh
                .edit_running(&format!(
                    "<config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'>{config}</config>"
                ))
                .unwrap();
        }
        let real = cluster.simulator.device(&device(n)).unwrap();
        assert_eq!(real.running(), fresh.running(), "seed {seed}, step {step}, {}", device(n));
    }
}

async fn life(seed: u64) {
    let regions = vec![(REGION.to_owned(), 3), ("spare".to_owned(), 3)];
    let cluster = Cluster::running(Options { regions, ..Options::default() }).await;
    for n in 0..DEVICES {
        cluster.simulator.device(&device(n)).unwrap().edit_running(PORTS).unwrap();
    }
    let mut dice = Dice(seed);
    let mut services: Vec<String> = Vec::new();
    for step in 0..steps() {
        let which =
            (!services.is_empty()).then(|| usize::try_from(dice.roll(services.len() as u64)).unwrap());
        match (dice.roll(6), which) {
            (0 | 1, _) | (_, None) => {
                let mut new = lan(&mut dice);
                new["kind"] = json!("provision");
                let done = order(&cluster, new, seed).await;
                services.push(done["service_id"].as_str().unwrap().to_owned());
            }
            (2 | 3, Some(which)) => {
                let mut change = lan(&mut dice);
                change["kind"] = json!("modify");
                change["service_id"] = json!(services[which]);
                let done = order(&cluster, change, seed).await;
                // The same once more: nothing is to be done.
                let again = json!({
                    "kind": "modify", "service_id": services[which], "attributes": done["attributes"],
                    "endpoints": done["endpoints"],
                });
                let plan = cluster.api.post("/v1/orders?dry_run=true", &again).await;
                assert_eq!(plan.body["empty"], true, "seed {seed}, step {step}: {plan:?}");
            }
            (4, Some(which)) => {
                order(&cluster, json!({"kind": "redeploy", "service_id": services[which]}), seed).await;
            }
            (_, Some(which)) => {
                let gone = services.swap_remove(which);
                order(&cluster, json!({"kind": "decommission", "service_id": gone}), seed).await;
            }
        }
        devices_are_as_wanted(&cluster, &services, seed, step).await;
    }
    while !services.is_empty() {
        let gone = services.swap_remove(usize::try_from(dice.roll(services.len() as u64)).unwrap());
        order(&cluster, json!({"kind": "decommission", "service_id": gone}), seed).await;
    }
    devices_are_as_wanted(&cluster, &[], seed, u64::MAX).await;
    for table in ["footprints", "owned_nodes", "shared_nodes", "resources", "services"] {
        assert_eq!(cluster.count(&format!("SELECT count(*) FROM {table}")).await, 0, "seed {seed}: {table}");
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_have_what_their_services_want_together() {
    life(20_261_124).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_have_what_their_services_want_together_again() {
    life(7).await;
}
