//! Orders whose definition has functional checks decide about the confirm.

use serde_json::{Value, json};
use turnup_tests::{Cluster, Options, cluster::eline, invariants};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";

/// Publishes a version of `eline` that is confirmed only if it works.
fn publish(cluster: &Cluster, settings: &str) {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/services/eline");
    let copy = cluster.dir.join("eline");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    // Checks are needed on every platform, and only the simulator's has some.
    let main = copy.join("definition.yaml");
    let text = std::fs::read_to_string(&main).unwrap().replace("version: 1\n", "version: 2\n");
    let line = text.lines().find(|line| line.trim_start().starts_with("audit: {every")).map(str::to_owned);
    let text = match line {
        Some(line) => text.replace(&line, settings),
        None => format!("{text}\n{settings}\n"),
    };
    std::fs::write(&main, without_platforms(&text, &["junos", "\"null\""])).unwrap();
    let said = cluster.command(&["definition", "publish", &copy.display().to_string()]);
    assert_eq!(said, "eline version 2: published\n");
}

/// The definition without these entries of `platforms`.
fn without_platforms(text: &str, names: &[&str]) -> String {
    let mut kept = String::new();
    let mut skipping = false;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if skipping && !line.trim().is_empty() && indent <= 2 {
            skipping = false;
        }
        skipping |=
            indent == 2 && names.iter().any(|name| line.trim_start().starts_with(&format!("{name}:")));
        if !skipping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

async fn submit(cluster: &Cluster, order: &Value) -> String {
    let answer = cluster.api.post("/v1/orders", order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn order_that_does_not_work_is_undone_with_the_evidence() {
    let cluster = Cluster::running(Options::default()).await;
    publish(&cluster, "audit: {before_confirm: true, within: 2s, settle: 0s}");
    // The port of the far end is switched off by hand.
    let z = cluster.simulator.device(Z).unwrap();
    let port = eline(1, A, Z)["endpoints"][1]["attributes"]["port"].as_str().unwrap().to_owned();
    let interface = |enabled: bool| {
        format!(
            r#"<config xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><interfaces xmlns="urn:turnup:sim"><interface><name>{port}</name><enabled>{enabled}</enabled></interface></interfaces></config>"#
        )
    };
    z.edit_running(&interface(false)).unwrap();
    let id = submit(&cluster, &eline(1, A, Z)).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    let errors = order["errors"].as_array().unwrap();
    let failed: Vec<&Value> = errors.iter().filter(|error| error["class"] == "not_working").collect();
    assert!(failed.iter().any(|error| error["device"] == Z), "{errors:#?}");
    let evidence = failed.iter().find(|error| error["device"] == Z).unwrap();
    assert!(evidence["message"].as_str().unwrap().contains("down"), "{evidence:#}");
    let devices = order["deployments"][0]["devices"].as_array().unwrap();
    assert!(devices.iter().all(|device| device["in_force"] == "old"), "{devices:#?}");
    invariants::network_is_as_recorded(&cluster).await;

    // Once it works the same order goes through.
    z.edit_running(&interface(true)).unwrap();
    let answer = cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let done = cluster.order_in(&id, "completed").await;
    // The checks that let it pass are the service's audit.
    let service = done["service_id"].as_str().unwrap();
    let shown = cluster.api.get(&format!("/v1/services/{service}")).await.body;
    assert_eq!(
        (&shown["audit_state"], &shown["config_audit"]),
        (&json!("up"), &json!("not_audited")),
        "{shown}"
    );
    let audit = cluster.api.get(&format!("/v1/services/{service}/audit")).await.body;
    assert_eq!(audit["order"], json!(id), "{audit}");
    let devices = audit["devices"].as_array().unwrap();
    let passed =
        |device: &Value| device["checks"].as_array().unwrap().iter().all(|check| check["passed"] == true);
    assert!(devices.len() == 2 && devices.iter().all(passed), "{audit:#}");
    let events = cluster.api.get("/v1/events?type=dev.turnup.service.audited.v1").await.body;
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "{events}");
    invariants::history_is_lawful(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}
