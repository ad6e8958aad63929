//! Device exams by the real binary: never beside an order, and nothing is left when a process dies in the middle.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use turnup_device_sim::Personality;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const DEVICE: &str = "sim-eu-west-1";
const OTHER: &str = "sim-eu-west-2";

fn small(personality: Personality) -> Options {
    Options { regions: vec![("eu-west".to_owned(), 2)], personality, ..Options::default() }
}

fn assert_untouched(cluster: &Cluster) {
    let device = cluster.simulator.device(DEVICE).unwrap();
    assert!(device.holds().is_nothing(), "{:?}", device.holds());
    assert!(!cluster.running_config(DEVICE).contains("turnup-exam"), "{}", cluster.running_config(DEVICE));
}

#[tokio::test(flavor = "multi_thread")]
async fn exam_says_what_a_device_does_and_writes_its_profile() {
    let cluster = Cluster::running(small(Personality::CLIXON)).await;
    let profile = cluster.dir.join("clixon.toml");
    let written = profile.display().to_string();
    let (code, out, err) = cluster.try_command(&["device", "exam", DEVICE, "--check", "--write", &written]);
    // The platform sim follows RFC 6241 by the letter; this device does not.
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("the profile in use is wrong for sim-eu-west-1 in discard_before_edit"), "{err}");
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert!(out.contains("RFC 6241 §7.9: a killed session goes on working"), "{out}");
    assert!(out.contains("running is as before"), "{out}");
    let derived = std::fs::read_to_string(&profile).unwrap();
    assert!(derived.contains("\ndiscard_before_edit = true\n"), "{derived}");
    let shown = cluster.command(&["device", "exam", DEVICE, "--profile", "--careful"]);
    assert!(shown.contains("\ndiscard_before_edit = true\n"), "{shown}");
    assert_untouched(&cluster);
    let json: Value = serde_json::from_str(&cluster.command(&[
        "--output",
        "json",
        "device",
        "exam",
        DEVICE,
        "--candidate-only",
    ]))
    .unwrap();
    assert_eq!((&json["is_clean"], &json["left"]), (&json!(true), &json!([])));
    assert_eq!(
        cluster
            .count("SELECT count(*) FROM leases WHERE order_id IS NOT NULL OR pending_tokens IS NOT NULL")
            .await,
        0
    );
}

/// Begins an exam and waits until it holds the device.
async fn begin(cluster: &Cluster) -> tokio::task::JoinHandle<Option<Value>> {
    let api = cluster.api.clone();
    let exam = tokio::spawn(async move {
        let request = json!({"time_s": 60});
        let answer =
            api.try_call(Method::POST, &format!("/v1/devices/{DEVICE}/exam"), Some(&request), &[]).await?;
        Some(json!({"status": answer.status.as_u16(), "body": answer.body}))
    });
    until("the exam to hold the device", PATIENCE, || async {
        (cluster.count("SELECT count(*) FROM leases WHERE exam_until IS NOT NULL").await == 1).then_some(())
    })
    .await;
    exam
}

#[tokio::test(flavor = "multi_thread")]
async fn order_waits_for_an_exam_and_then_goes_on() {
    let cluster = Cluster::running(small(Personality::DEFAULT)).await;
    let exam = begin(&cluster).await;
    let second = cluster.api.post(&format!("/v1/devices/{DEVICE}/exam"), &json!({})).await;
    assert_eq!((second.status.as_u16(), &second.body["code"]), (409, &json!("device_busy")), "{second:?}");
    let order = cluster.api.post("/v1/orders", &eline(1, DEVICE, OTHER)).await;
    let id = order.body["id"].as_str().unwrap().to_owned();
    let explained = until("the order to wait for the exam", PATIENCE, || async {
        let answer = cluster.api.get(&format!("/v1/orders/{id}/explain")).await.body;
        answer["explanation"].as_str().filter(|text| text.contains("device exam")).map(str::to_owned)
    })
    .await;
    assert!(explained.contains(&format!("waits for {DEVICE}, which is under a device exam")), "{explained}");
    let answer = exam.await.unwrap().unwrap();
    assert_eq!((&answer["status"], &answer["body"]["is_clean"]), (&json!(200), &json!(true)), "{answer}");
    cluster.order_in(&id, "completed").await;
    let journal = cluster.simulator.journal().unwrap();
    let paths: Vec<&str> = journal
        .iter()
        .filter(|record| record.device == DEVICE)
        .flat_map(|record| record.changes.iter().map(|change| change.path.as_str()))
        .collect();
    let last_of_exam = paths.iter().rposition(|path| path.contains("turnup-exam")).unwrap();
    let first_of_order = paths.iter().position(|path| path.contains("pseudowire")).unwrap();
    assert!(first_of_order > last_of_exam, "the order began after the exam's last change");
    invariants::network_is_as_recorded(&cluster).await;
}

/// The worker dies with a confirmed commit pending and its locks held. What is left is on record: the next deployment
/// cancels it.
#[tokio::test(flavor = "multi_thread")]
async fn worker_that_dies_in_an_exam_leaves_nothing_to_the_next_deployment() {
    for point in ["worker.exam_prepared", "worker.exam_committed:2", "worker.exam_committed:7"] {
        let mut cluster = Cluster::running(small(Personality::DEFAULT)).await;
        let worker = ["serve", "worker", "--region", "eu-west"];
        cluster.process("worker-eu-west").kill();
        cluster.start("worker-eu-west", &worker, &[("TURNUP_CRASH_POINT", point)]);
        let exam = begin(&cluster).await;
        cluster.process("worker-eu-west").wait(PATIENCE);
        exam.abort();
        // The question is gone by the time another worker is there, and the lease ends by itself.
        tokio::time::sleep(Duration::from_secs(16)).await;
        cluster.query("UPDATE leases SET exam_until = now() WHERE exam_until IS NOT NULL").await;
        assert_eq!(
            cluster.count("SELECT count(*) FROM leases WHERE cardinality(pending_tokens) = 1").await,
            1
        );
        cluster.start("worker-eu-west", &worker, &[]);
        let order = cluster.api.post("/v1/orders", &eline(1, DEVICE, OTHER)).await;
        cluster.order_in(order.body["id"].as_str().unwrap(), "completed").await;
        assert_untouched(&cluster);
        assert_eq!(
            cluster.count("SELECT count(*) FROM leases WHERE pending_tokens IS NOT NULL").await,
            0,
            "{point}"
        );
        invariants::network_is_as_recorded(&cluster).await;
    }
}

/// The client that asked is gone; the exam ends all the same and gives the device back.
#[tokio::test(flavor = "multi_thread")]
async fn exam_goes_on_without_its_client() {
    let cluster = Cluster::running(small(Personality::DEFAULT)).await;
    begin(&cluster).await.abort();
    until("the lease to be given back", Duration::from_secs(100), || async {
        (cluster
            .count("SELECT count(*) FROM leases WHERE order_id IS NOT NULL OR pending_tokens IS NOT NULL")
            .await
            == 0)
            .then_some(())
    })
    .await;
    assert_untouched(&cluster);
}
