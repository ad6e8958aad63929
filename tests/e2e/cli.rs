//! The command line, as people and scripts use it.

use serde_json::Value;
use turnup_tests::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_kind_and_exit_codes() {
    let cluster = Cluster::running(Options::default()).await;
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo");
    let watched = cluster.command(&[
        "order",
        "submit",
        &format!("{demo}/eline.yaml"),
        &format!("{demo}/orders.csv"),
        "--watch",
    ]);
    assert_eq!(watched.matches("Completed").count(), 3, "{watched}");

    let list: Value = serde_json::from_str(&cluster.command(&[
        "--output",
        "json",
        "order",
        "list",
        "--state",
        "completed",
    ]))
    .unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let id = list["items"][0]["id"].as_str().unwrap();
    let shown = cluster.command(&["order", "show", id]);
    for wanted in ["Completed", "history", "In Progress", "in force: new", "edit-config"] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    let plan = cluster.command(&["order", "plan", &format!("{demo}/eline.yaml")]);
    assert!(plan.contains("vlan-id"), "{plan}");

    // 3: refused by the state. 2: usage. 1: failed. 4: can't reach.
    let (code, _, err) = cluster.try_command(&["order", "cancel", id]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("Completed"), "{err}");
    assert_eq!(cluster.try_command(&["order", "submit", "no-such-file.yaml"]).0, 2);
    assert_eq!(cluster.try_command(&["order", "nonsense"]).0, 2);
    let bad = cluster.dir.join("bad.json");
    std::fs::write(&bad, r#"{"kind": "provision", "definition": "eline", "colour": 1}"#).unwrap();
    let (code, out, _) = cluster.try_command(&["order", "submit", &bad.display().to_string()]);
    assert_eq!(code, 1);
    assert!(
        out.contains("/colour") && out.contains("/attributes/vc_id"),
        "all faults with their place: {out}"
    );
    assert_eq!(cluster.try_command(&["--url", "http://127.0.0.1:1", "order", "list"]).0, 4);
    let (code, _, err) = cluster.try_command(&["--token", "tu_wrong", "order", "list"]);
    assert_eq!(code, 3, "{err}");

    let services = cluster.command(&["service", "list"]);
    assert_eq!(services.matches("eline").count(), 3, "{services}");
    assert!(cluster.command(&["definition", "list"]).contains("eline"));
    assert!(cluster.command(&["fleet"]).contains("eu-west"));
    assert!(cluster.command(&["device", "list"]).contains("sim-us-east-1"));
    assert!(cluster.command(&["events", "--type", "dev.turnup.order.completed"]).lines().count() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_what_their_role_may() {
    let cluster = Cluster::running(Options::default()).await;
    let secret = cluster.command(&["token", "create", "reader", "--role", "auditor"]);
    let secret = secret.trim();
    assert_eq!(cluster.try_command(&["--token", secret, "order", "list"]).0, 0);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo/eline.yaml");
    let (code, _, err) = cluster.try_command(&["--token", secret, "order", "submit", demo]);
    assert_eq!(code, 3, "{err}");
    assert_eq!(
        cluster.try_command(&["token", "create", "reader", "--role", "admin"]).0,
        3,
        "the name is taken"
    );
    let _ = cluster.command(&["token", "revoke", "reader"]);
    turnup_tests::wait::until("the revocation to be noticed", turnup_tests::wait::PATIENCE, || async {
        (cluster.try_command(&["--token", secret, "order", "list"]).0 == 3).then_some(())
    })
    .await;
    let stored = cluster.query("SELECT tokens::text FROM tokens").await;
    assert!(stored.iter().all(|row| !row.get::<_, String>(0).contains(secret.trim_start_matches("tu_"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_is_trusted_only_by_an_explicit_act() {
    let cluster = Cluster::running(Options::default()).await;
    let device = &cluster.simulator.inventory()[0];
    let port = device.port.to_string();
    let _ = cluster.command(&[
        "device",
        "add",
        "pe9",
        "--region",
        "eu-west",
        "--platform",
        "sim",
        "--address",
        "127.0.0.1",
        "--port",
        &port,
        "--credential",
        "sim",
    ]);
    let (code, out, _) = cluster.try_command(&["device", "trust", "pe9"]);
    assert_eq!(code, 2);
    let fingerprint = out.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned();
    assert_eq!(cluster.try_command(&["device", "trust", "pe9", "--fingerprint", "SHA256:wrong"]).0, 3);
    let trusted = cluster.command(&["device", "trust", "pe9", "--fingerprint", &fingerprint]);
    assert!(trusted.contains("ssh-ed25519"), "{trusted}");
}
