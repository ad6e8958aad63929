//! What was said to devices and why orders are where they are, on the whole system.

use serde_json::Value;
use turnup_device_sim::behaviour::Behaviour;
use turnup_tests::{Cluster, Options, cluster::eline};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";

async fn submit(cluster: &Cluster, order: &Value) -> String {
    let answer = cluster.api.post("/v1/orders", order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

/// The transcript of the order's deployment.
async fn transcript(cluster: &Cluster, order: &Value) -> (String, Value) {
    let id = order["deployments"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/deployments/{id}/transcript");
    // It comes before the end that is waited for, and is recorded with it or earlier.
    let all = cluster.api.get(&path).await.body;
    assert!(!all["items"].as_array().unwrap().is_empty(), "{all}");
    (id, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_kept_and_shown() {
    let options = Options { config: "[worker]\ntranscripts = \"all\"\n".to_owned(), ..Options::default() };
    let cluster = Cluster::running(options).await;
    let id = submit(&cluster, &eline(1, A, Z)).await;
    let order = cluster.order_in(&id, "completed").await;
    let (deployment, all) = transcript(&cluster, &order).await;
    let devices: Vec<&Value> = all["items"].as_array().unwrap().iter().map(|item| &item["device"]).collect();
    assert_eq!(devices, [A, Z]);
    let shown = cluster.command(&["deployment", "transcript", &deployment, "--device", Z]);
    // The other end is named in the configuration.
    assert!(shown.starts_with(Z) && !shown.contains(&format!("{A}  attempt")), "{shown}");
    for said in
        ["<confirmed/>", "<ok/>", "<candidate/>", &format!("eline-{}", order["service_id"].as_str().unwrap())]
    {
        assert!(shown.contains(said), "{said} in {shown}");
    }
    let shown = cluster.command(&["deployment", "show", &deployment]);
    assert!(shown.contains("committed") && shown.contains(&id), "{shown}");
    let said = cluster.command(&["order", "explain", &id]);
    assert!(said.starts_with("Completed since") && said.contains(&format!("{A} and {Z}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_explained_and_its_transcript_kept() {
    let options =
        Options { config: "[worker]\ntranscripts = \"failures\"\n".to_owned(), ..Options::default() };
    let cluster = Cluster::running(options).await;
    cluster.behave(Z, Behaviour { down: true, ..Behaviour::default() }).await;
    let id = submit(&cluster, &eline(1, A, Z)).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    let said = cluster.command(&["order", "explain", &id]);
    assert!(said.starts_with("Failed Deploy since"), "{said}");
    for part in [&format!("{Z} could not be reached"), "after 3 tries", &format!("once {Z} answers")] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (_, all) = transcript(&cluster, &order).await;
    let of_z = all["items"].as_array().unwrap().iter().find(|item| item["device"] == Z).unwrap();
    assert_eq!(of_z["exchanges"][0]["step"], "connect");
    assert!(of_z["exchanges"][0]["note"].is_string(), "{of_z}");
}
