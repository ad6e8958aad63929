//! Any number of workers share a region; draining and killing them loses nothing.

use std::time::Duration;

use serde_json::Value;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_a_region_and_one_can_serve_two() {
    // Each order alone, or there would be one piece of work for each pair of devices.
    let alone = "[scheduler]\ngroup_max_orders = 1\n".to_owned();
    let mut cluster = Cluster::new(Options { config: alone, ..Options::default() }).await;
    for role in ["intake", "scheduler", "recorder"] {
        cluster.start(role, &["serve", role], &[]);
    }
    cluster.start("worker-a", &["serve", "worker", "--region", "eu-west", "--concurrency", "2"], &[]);
    cluster.start(
        "worker-b",
        &["serve", "worker", "--region", "eu-west", "--region", "us-east", "--concurrency", "2"],
        &[],
    );
    cluster.intake_ready().await;
    cluster.register_devices().await;
    let pairs = [
        ("sim-eu-west-1", "sim-eu-west-2"),
        ("sim-eu-west-3", "sim-eu-west-4"),
        ("sim-us-east-1", "sim-us-east-2"),
    ];
    let orders: Vec<Value> = (0..60)
        .map(|n| {
            let (a, z) = pairs[n as usize % 3];
            eline(n, a, z)
        })
        .collect();
    cluster.api.bulk(&orders).await;
    cluster.all_settled(60).await;
    assert_eq!(cluster.count("SELECT count(*) FROM orders WHERE state = 'completed'").await, 60);
    let workers =
        cluster.count("SELECT count(DISTINCT worker) FROM deployments WHERE region = 'eu-west'").await;
    assert_eq!(workers, 2, "both workers of eu-west had work");
    invariants::network_is_as_recorded(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_finishes_what_it_has() {
    let mut cluster = Cluster::running(Options::default()).await;
    for device in ["sim-eu-west-1", "sim-eu-west-2"] {
        cluster
            .behave(
                device,
                turnup_device_sim::behaviour::Behaviour { commit_delay_ms: 700, ..Default::default() },
            )
            .await;
    }
    let answer = cluster.api.post("/v1/orders", &eline(1, "sim-eu-west-1", "sim-eu-west-2")).await;
    let id = answer.body["id"].as_str().unwrap().to_owned();
    until("the worker to be at it", PATIENCE, || async {
        (cluster.count("SELECT count(*) FROM deployments WHERE state = 'running'").await == 1).then_some(())
    })
    .await;
    let status = cluster.process("worker-eu-west").terminate(Duration::from_secs(60));
    assert!(status.success(), "{status}");
    let order = cluster.order_in(&id, "completed").await;
    assert_eq!(order["deployments"][0]["attempt"], 1, "nobody had to take over");
    invariants::network_is_as_recorded(&cluster).await;
}
