//! Each role is killed with kill -9, five times, under a load of 500 orders and more. Afterwards
//! nothing is lost, nothing is stuck, history is lawful, and the simulators' journals show each
//! change once in effect.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on fails where it stands"
)]

mod everywhere;
mod frozen;
mod servers;

use std::time::Duration;

use serde_json::Value;
use turnup_tests::{
    Cluster, Options,
    api::Api,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const ORDERS: u32 = 500;
const KILLS: u32 = 5;

fn options() -> Options {
    Options {
        regions: vec![("eu-west".to_owned(), 20), ("us-east".to_owned(), 20)],
        config: "[scheduler]\nsweep_every_ms = 1000\noverdue_ms = 5000\nlost_after_ms = 15000\n\
                 [scheduler.limits]\nconfirm_timeout_s = 10\n"
            .to_owned(),
        ladder_levels: 6,
        ..Options::default()
    }
}

fn orders(numbers: std::ops::Range<u32>) -> Vec<Value> {
    numbers
        .map(|n| {
            let (region, pair) = (["eu-west", "us-east"][n as usize % 2], n / 2 % 10);
            eline(n, &format!("sim-{region}-{}", 2 * pair + 1), &format!("sim-{region}-{}", 2 * pair + 2))
        })
        .collect()
}

async fn settled(cluster: &Cluster) -> i64 {
    cluster
        .count("SELECT count(*) FROM orders WHERE state IN ('completed', 'invalid', 'failed_deploy')")
        .await
}

/// Kills `role` each time another share of the orders has been done, and starts it again.
async fn kill_under_load(role: &str, arguments: &[&str]) {
    let mut cluster = Cluster::running(options()).await;
    let load = tokio::spawn(submit(cluster.api.clone(), orders(0..ORDERS)));
    for kill in 1..=KILLS {
        let share = if role == "intake" { "accepted" } else { "done" };
        let wanted = i64::from(ORDERS * kill / (KILLS + 2));
        until(&format!("{wanted} orders {share}"), PATIENCE * 2, || async {
            let count = if role == "intake" {
                cluster.count("SELECT count(*) FROM orders").await
            } else {
                settled(&cluster).await
            };
            (count >= wanted).then_some(())
        })
        .await;
        cluster.process(role).kill();
        cluster.start(role, arguments, &[]);
    }
    load.await.unwrap();
    until("every order to end", Duration::from_secs(240), || async {
        (settled(&cluster).await == i64::from(ORDERS)).then_some(())
    })
    .await;
    check(&cluster, ORDERS).await;
}

/// Submits everything, over and over until each order is known to be accepted: an intake may be
/// killed in the middle, and the external ids keep orders from being made twice.
async fn submit(api: Api, orders: Vec<Value>) {
    for part in orders.chunks(25) {
        until("a part of the orders to be accepted", PATIENCE, || async {
            let body: String = part.iter().map(|order| format!("{order}\n")).collect();
            let response = reqwest::Client::new()
                .post(format!("{}/v1/orders:bulk", api.base))
                .bearer_auth(&api.token)
                .header("content-type", "application/x-ndjson")
                .body(body)
                .send()
                .await
                .ok()?;
            let text = response.text().await.ok()?;
            let answers: Vec<Value> =
                text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let accepted = answers.iter().filter(|answer| answer["order"]["id"].is_string()).count();
            (accepted == part.len()).then_some(())
        })
        .await;
    }
}

async fn check(cluster: &Cluster, orders: u32) {
    assert_eq!(cluster.count("SELECT count(*) FROM orders").await, i64::from(orders), "each order once");
    let failed =
        cluster.query("SELECT state || ' ' || errors::text FROM orders WHERE state <> 'completed'").await;
    let failed: Vec<String> = failed.iter().map(|row| row.get(0)).collect();
    assert!(failed.is_empty(), "{} orders did not complete, such as: {:?}", failed.len(), failed.first());
    invariants::history_is_lawful(cluster).await;
    invariants::nothing_is_stuck(cluster).await;
    invariants::network_is_as_recorded(cluster).await;
    until("every event to be published", PATIENCE, || async {
        let open = cluster
            .count("SELECT numbered - published + (SELECT count(*) FROM fresh_events) FROM event_log")
            .await;
        (open == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn intake_killed() {
    kill_under_load("intake", &["serve", "intake"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduler_killed() {
    kill_under_load("scheduler", &["serve", "scheduler"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorder_killed() {
    kill_under_load("recorder", &["serve", "recorder"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_killed() {
    kill_under_load("worker-eu-west", &["serve", "worker", "--region", "eu-west"]).await;
}

/// Every named point at which a role may die, with the role's process and arguments.
const POINTS: [(&str, &str, &[&str]); 12] = [
    ("intake.before_commit", "intake", &["serve", "intake"]),
    ("intake.after_commit", "intake", &["serve", "intake"]),
    ("scheduler.before_commit", "scheduler", &["serve", "scheduler"]),
    ("scheduler.after_commit", "scheduler", &["serve", "scheduler"]),
    ("relay.after_publish", "scheduler", &["serve", "scheduler"]),
    ("worker.after_prepare", "worker-eu-west", &["serve", "worker", "--region", "eu-west"]),
    ("worker.after_provisional", "worker-eu-west", &["serve", "worker", "--region", "eu-west"]),
    ("worker.after_confirm_first", "worker-eu-west", &["serve", "worker", "--region", "eu-west"]),
    ("worker.after_confirm", "worker-eu-west", &["serve", "worker", "--region", "eu-west"]),
    ("worker.after_report", "worker-eu-west", &["serve", "worker", "--region", "eu-west"]),
    ("recorder.before_commit", "recorder", &["serve", "recorder"]),
    ("recorder.after_commit", "recorder", &["serve", "recorder"]),
];

/// Each role dies at each of its points, under load; the one that replaces it makes all good.
#[tokio::test(flavor = "multi_thread")]
async fn every_role_dies_at_each_of_its_points() {
    const LOAD: u32 = 40;
    let mut cluster = Cluster::running(options()).await;
    let mut submitted = 0;
    for (point, name, arguments) in POINTS {
        let variables = [("TURNUP_CRASH_POINT", point)];
        cluster.process(name).kill();
        cluster.start(name, arguments, &variables);
        let load = tokio::spawn(submit(cluster.api.clone(), orders(submitted..submitted + LOAD)));
        submitted += LOAD;
        let status = cluster.process(name).wait(PATIENCE);
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(6),
            "{point}: aborted at its point"
        );
        cluster.start(name, arguments, &[]);
        load.await.unwrap();
        until(&format!("every order to end after {point}"), Duration::from_secs(120), || async {
            (settled(&cluster).await == i64::from(submitted)).then_some(())
        })
        .await;
        check(&cluster, submitted).await;
    }
    let taken_over = cluster.count("SELECT count(*) FROM deployments WHERE attempt > 1").await;
    assert!(taken_over >= 4, "only {taken_over} deployments were taken over");
}
