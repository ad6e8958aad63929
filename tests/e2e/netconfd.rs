//! The main job on a NETCONF server that nobody here wrote: Debian's netconfd behind OpenSSH.

use std::{collections::BTreeMap, net::TcpListener, path::PathBuf, process::Command, time::Duration};

use serde_json::json;
use turnup_netconf::{
    operation::{Datastore, DefaultOperation, EditConfig, Filter, Operation},
    ssh::{Credentials, Options as SshOptions, Target, connect},
    xml::{Element, Limits},
};
use turnup_tests::{Cluster, Options, invariants};

use crate::properties::Dice;

const IETF: &str = "urn:ietf:params:xml:ns:yang:ietf-interfaces";

/// Servers of their own, stopped when dropped.
struct Netconfd {
    base: PathBuf,
    port: u16,
}

/// The first of `count` ports in a row that nobody has, below those that connections are given.
fn free_ports(count: u16) -> u16 {
    let begin = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    (0..1000)
        .map(|n| 20_000 + (begin + n * 10) % 10_000)
        .find(|first| (*first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .expect("free ports")
}

fn script(base: &PathBuf, arguments: &[&str]) -> std::process::Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/netconfd");
    Command::new(script).args(arguments).env("BASE", base).output().unwrap()
}

impl Netconfd {
    /// `None`, said aloud, where it is not installed and not required.
    fn start(count: u16) -> Option<Self> {
        let port = free_ports(count);
        let base = std::env::temp_dir().join(format!("turnup-nc-{port}"));
        if !script(&base, &["check"]).status.success() {
            assert_ne!(
                std::env::var("TURNUP_REQUIRE_NETCONFD").as_deref(),
                Ok("1"),
                "netconfd is required here and not installed; run scripts/netconfd install"
            );
            eprintln!("SKIPPED: netconfd is not installed; 'scripts/netconfd install' gets it");
            return None;
        }
        let servers = Self { base, port };
        let output = script(&servers.base, &["start", &count.to_string(), &port.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(servers)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.base.join(file)).unwrap().trim().to_owned()
    }

    fn host_key(&self, n: u16) -> String {
        let place = format!("[127.0.0.1]:{} ", self.port + n);
        let known = self.read("known_hosts");
        known.lines().find_map(|line| line.strip_prefix(&place)).unwrap().to_owned()
    }

    /// The interfaces in a device's running configuration, read by a session of our own.
    async fn interfaces(&self, n: u16) -> String {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let options = SshOptions { settle: Duration::from_millis(20), ..SshOptions::default() };
        let credentials = Credentials::private_key(self.read("user"), self.read_key().into());
        let mut session = connect(
            &Target::new("127.0.0.1", self.port + n),
            &credentials,
            &self.host_key(n).parse().unwrap(),
            &options,
        )
        .await
        .unwrap();
        let filter = Filter::Subtree(vec![Element::new(IETF, "interfaces")]);
        let reply =
            session.rpc(&Operation::get_config(Datastore::Running, Some(&filter)), deadline).await.unwrap();
        reply.data().map(Element::to_xml).unwrap_or_default()
    }

    fn read_key(&self) -> String {
        std::fs::read_to_string(self.base.join("client")).unwrap()
    }
}

impl Drop for Netconfd {
    fn drop(&mut self) {
        script(&self.base, &["stop"]);
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_comes_and_goes_on_netconfd() {
    let Some(servers) = Netconfd::start(2) else { return };
    let config = format!(
        "[credentials.netconfd]\nusername = {:?}\nprivate_key_file = {:?}\n",
        servers.read("user"),
        servers.base.join("client")
    );
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    for n in 0..2 {
        let device = json!({
            "name": format!("nc{n}"), "region": "eu-west", "platform": "ietf", "address": "127.0.0.1",
            "port": servers.port + n, "host_key": servers.host_key(n), "credential": "netconfd",
        });
        let answer = cluster.api.post("/v1/devices", &device).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let order = |name: &str, device: &str| {
        json!({
            "kind": "provision", "definition": "interface", "schedule": "now",
            "attributes": {"name": name, "description": "R&D <lab> \"7\""},
            "endpoints": [{"role": "device", "device": device}],
        })
    };
    let mut services = Vec::new();
    for (name, device) in [("eth7", "nc0"), ("eth8", "nc0"), ("eth7", "nc1")] {
        let answer = cluster.api.post("/v1/orders", &order(name, device)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let order = cluster.order_in(answer.body["id"].as_str().unwrap(), "completed").await;
        services.push(order["service_id"].as_str().unwrap().to_owned());
    }
    let found = servers.interfaces(0).await;
    assert!(found.contains("eth7") && found.contains("eth8"), "{found}");
    assert!(found.contains("R&amp;D &lt;lab>") || found.contains("R&amp;D &lt;lab&gt;"), "{found}");
    assert!(servers.interfaces(1).await.contains("eth7"));

    let gone = json!({"kind": "decommission", "service_id": services[0], "schedule": "now"});
    let gone = cluster.api.post("/v1/orders", &gone).await;
    cluster.order_in(gone.body["id"].as_str().unwrap(), "completed").await;
    let found = servers.interfaces(0).await;
    assert!(!found.contains("eth7") && found.contains("eth8"), "only its own goes: {found}");
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_netconfd_that_is_down_fails_the_order_and_may_be_tried_again() {
    let Some(servers) = Netconfd::start(1) else { return };
    let config = format!(
        "[scheduler.limits]\ntries = 2\nconnect_timeout_ms = 2000\n[credentials.netconfd]\nusername = {:?}\nprivate_key_file = {:?}\n",
        servers.read("user"),
        servers.base.join("client")
    );
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    let device = json!({
        "name": "nc0", "region": "eu-west", "platform": "ietf", "address": "127.0.0.1",
        "port": servers.port, "host_key": servers.host_key(0), "credential": "netconfd",
    });
    cluster.api.post("/v1/devices", &device).await;
    assert!(script(&servers.base, &["kill", "0"]).status.success());
    let order = json!({
        "kind": "provision", "definition": "interface", "schedule": "now", "attributes": {"name": "eth1"},
        "endpoints": [{"role": "device", "device": "nc0"}],
    });
    let id = cluster.api.post("/v1/orders", &order).await.body["id"].as_str().unwrap().to_owned();
    let failed = cluster.order_in(&id, "failed_deploy").await;
    assert_eq!(failed["errors"][0]["class"], "unreachable", "{failed}");
    let restarted = script(&servers.base, &["restart", "0"]);
    assert!(restarted.status.success(), "{}", String::from_utf8_lossy(&restarted.stderr));
    cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
    cluster.order_in(&id, "completed").await;
    assert!(servers.interfaces(0).await.contains("eth1"));
}

/// Somebody else's change: candidate and commit by a session of its own.
impl Netconfd {
    async fn by_hand(&self, n: u16, config: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let options = SshOptions { settle: Duration::from_millis(20), ..SshOptions::default() };
        let credentials = Credentials::private_key(self.read("user"), self.read_key().into());
        let target = Target::new("127.0.0.1", self.port + n);
        let key = self.host_key(n).parse().unwrap();
        let mut session = connect(&target, &credentials, &key, &options).await.unwrap();
        let root = turnup_netconf::xml::parse_str(&format!("<config>{config}</config>"), &Limits::default())
            .unwrap();
        let edit = EditConfig {
            default_operation: Some(DefaultOperation::Merge),
            ..EditConfig::new(Datastore::Candidate, root.into_children())
        };
        for operation in [Operation::edit_config(edit), Operation::commit()] {
            let reply = session.rpc(&operation, deadline).await.unwrap();
            assert!(reply.is_ok(), "{:?}", reply.errors());
        }
    }
}

async fn settled(cluster: &Cluster, mut order: serde_json::Value, state: &str) -> serde_json::Value {
    order["schedule"] = json!("now");
    let answer = cluster.api.post("/v1/orders", &order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    cluster.order_in(answer.body["id"].as_str().unwrap(), state).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_on_netconfd() {
    let Some(servers) = Netconfd::start(1) else { return };
    let config = format!(
        "[credentials.netconfd]\nusername = {:?}\nprivate_key_file = {:?}\n",
        servers.read("user"),
        servers.base.join("client")
    );
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    let device = json!({
        "name": "nc0", "region": "eu-west", "platform": "ietf", "address": "127.0.0.1",
        "port": servers.port, "host_key": servers.host_key(0), "credential": "netconfd",
    });
    assert_eq!(cluster.api.post("/v1/devices", &device).await.status, 201);

    // Its own modules, by get-schema, check the orders from now on.
    let checked = cluster.api.post("/v1/devices/nc0/check", &json!({"fetch_yang": true})).await;
    assert_eq!(checked.status, 200, "{checked:?}");
    assert_eq!(checked.body["check"]["trusted"], true, "{checked:?}");
    assert!(checked.body["check"]["clock_skew_ms"].is_i64() || checked.body["check"]["clock"].is_null());
    let modules = checked.body["check"]["modules"].to_string();
    assert!(modules.contains("ietf-interfaces"), "{modules}");
    let interface = |name: &str, description: &str| {
        json!({
            "kind": "provision", "definition": "interface",
            "attributes": {"name": name, "description": description},
            "endpoints": [{"role": "device", "device": "nc0"}],
        })
    };
    let before = servers.interfaces(0).await;
    let shown =
        cluster.api.post("/v1/orders?dry_run=true&on_device=true", &interface("eth7", "to the roof")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(shown.body["yang"][0]["checked"], true, "{shown:?}");
    assert_eq!(shown.body["on_device"][0]["ok"], true, "{shown:?}");
    assert_eq!(servers.interfaces(0).await, before, "nothing was left there");

    let done = settled(&cluster, interface("eth7", "to the roof"), "completed").await;
    let service = done["service_id"].as_str().unwrap().to_owned();
    let mut modify = interface("eth7", "to the cellar");
    modify["kind"] = json!("modify");
    modify["service_id"] = json!(service);
    settled(&cluster, modify, "completed").await;
    assert!(servers.interfaces(0).await.contains("to the cellar"));

    // Drift by hand, found, repaired.
    let drift = format!(
        "<interfaces xmlns='{IETF}'><interface><name>eth7</name><description>mine now</description>\
         <link-up-down-trap-enable>disabled</link-up-down-trap-enable></interface></interfaces>"
    );
    servers.by_hand(0, &drift).await;
    let validate = json!({"kind": "validate", "service_id": service, "audit": ["config"]});
    settled(&cluster, validate.clone(), "completed").await;
    let audit = cluster.api.get(&format!("/v1/services/{service}/audit")).await.body;
    assert_eq!(audit["config"], "drifted", "{audit}");
    let differences = audit["devices"][0]["differences"].to_string();
    assert!(differences.contains("mine now") && differences.contains("link-up-down-trap-enable"), "{audit}");
    settled(&cluster, audit["proposed"].clone(), "completed").await;
    let found = servers.interfaces(0).await;
    assert!(found.contains("to the cellar") && !found.contains("link-up-down-trap"), "{found}");
    settled(&cluster, validate, "completed").await;
    let audit = cluster.api.get(&format!("/v1/services/{service}/audit")).await.body;
    assert_eq!(audit["config"], "in_sync", "{audit}");

    settled(&cluster, json!({"kind": "decommission", "service_id": service}), "completed").await;
    // The container without presence may stay, empty: it means nothing (RFC 7950 §7.5.1).
    let left = servers.interfaces(0).await.replace(&format!("<interfaces xmlns=\"{IETF}\"/>"), "");
    assert_eq!(left.replace("></data>", "/>"), before, "as it was");
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

/// The planner's properties on a real server: any services in any order, and it has what they want together.
#[tokio::test(flavor = "multi_thread")]
async fn netconfd_has_what_its_services_want_together() {
    let Some(servers) = Netconfd::start(1) else { return };
    let config = format!(
        "[credentials.netconfd]\nusername = {:?}\nprivate_key_file = {:?}\n",
        servers.read("user"),
        servers.base.join("client")
    );
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    let device = json!({
        "name": "nc0", "region": "eu-west", "platform": "ietf", "address": "127.0.0.1",
        "port": servers.port, "host_key": servers.host_key(0), "credential": "netconfd",
    });
    assert_eq!(cluster.api.post("/v1/devices", &device).await.status, 201);
    // Interface → (service, description, enabled).
    let mut wanted: BTreeMap<String, (String, Option<String>, bool)> = BTreeMap::new();
    let mut dice = Dice(4711);
    for step in 0..24 {
        let name = format!("eth{}", dice.roll(4));
        let description = (dice.roll(3) > 0).then(|| format!("no. {} & more", dice.roll(3)));
        let enabled = dice.roll(2) == 0;
        let mut attributes = json!({"name": name, "enabled": enabled});
        if let Some(description) = &description {
            attributes["description"] = json!(description);
        }
        let endpoints = json!([{"role": "device", "device": "nc0"}]);
        match (wanted.get(&name).cloned(), dice.roll(4)) {
            (None, _) => {
                let order = json!({
                    "kind": "provision", "definition": "interface", "attributes": attributes, "endpoints": endpoints,
                });
                let done = settled(&cluster, order, "completed").await;
                wanted.insert(name, (done["service_id"].as_str().unwrap().to_owned(), description, enabled));
            }
            (Some((service, ..)), 0) => {
                settled(&cluster, json!({"kind": "decommission", "service_id": service}), "completed").await;
                wanted.remove(&name);
            }
            (Some((service, ..)), 1) => {
                settled(&cluster, json!({"kind": "redeploy", "service_id": service}), "completed").await;
            }
            (Some((service, ..)), _) => {
                let order = json!({
                    "kind": "modify", "service_id": service, "attributes": attributes, "endpoints": endpoints,
                });
                settled(&cluster, order, "completed").await;
                wanted.insert(name, (service, description, enabled));
            }
        }
        let found = servers.interfaces(0).await;
        let root = turnup_netconf::xml::parse_str(&found, &Limits::default()).unwrap();
        let leaf = |entry: &Element, name: &str| entry.child(IETF, name).map(|leaf| leaf.text().into_owned());
        let has: BTreeMap<String, (Option<String>, Option<String>)> = root
            .children()
            .flat_map(Element::children)
            .map(|entry| (leaf(entry, "name").unwrap(), (leaf(entry, "description"), leaf(entry, "enabled"))))
            .collect();
        let wants = wanted.iter().map(|(name, (_, description, enabled))| {
            (name.clone(), (description.clone(), Some(enabled.to_string())))
        });
        assert_eq!(has, wants.collect(), "step {step}: {found}");
    }
    invariants::history_is_lawful(&cluster).await;
}
