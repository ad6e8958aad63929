//! YANG on the whole system.

use std::{fs::File, io::Write as _, process::Command};

use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    wait::{PATIENCE, until},
};

const MODULE: &str = include_str!("../../crates/device-sim/yang/turnup-sim.yang");

#[tokio::test(flavor = "multi_thread")]
async fn no_rows_are_locked_while_yang_is_read_and_compiled() {
    let mut cluster = Cluster::running(Options::default()).await;
    let folder = cluster.dir.join("yang/sim");
    std::fs::create_dir_all(&folder).unwrap();
    // Who reads it waits until it is written.
    let module = folder.join("turnup-sim.yang");
    assert!(Command::new("mkfifo").arg(&module).status().unwrap().success());
    let yang_dir = cluster.dir.join("yang").display().to_string();
    // Locks are not to be given up because Postgres ends a transaction that idles for twice as long.
    let variables = [("TURNUP_YANG_DIR", &*yang_dir), ("TURNUP_DATABASE_TIMEOUT_MS", "120000")];
    cluster.start("scheduler", &["serve", "scheduler"], &variables);
    let answer = cluster.api.post("/v1/orders", &eline(1, "sim-eu-west-1", "sim-eu-west-2")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.body["id"].as_str().unwrap();
    let (opened, reader) = tokio::sync::oneshot::channel();
    // A thread, which nobody waits for if it is never read.
    std::thread::spawn(move || opened.send(File::options().write(true).open(module)));
    let mut file =
        tokio::time::timeout(PATIENCE, reader).await.expect("the scheduler reads it").unwrap().unwrap();
    let free =
        "SELECT count(*) FROM (SELECT FROM orders WHERE state = 'scheduled' FOR UPDATE SKIP LOCKED) AS free";
    until("the order not to be locked", PATIENCE, || async {
        (cluster.count(free).await == 1).then_some(())
    })
    .await;
    file.write_all(MODULE.as_bytes()).unwrap();
    drop(file);
    cluster.order_in(id, "completed").await;
}
