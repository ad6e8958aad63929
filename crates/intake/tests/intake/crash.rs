//! An intake that dies at the worst moment: before the commit nothing is lost, after it nothing
//! is done twice.

use std::process::{Command, Stdio};

use lapin::BasicProperties;
use turnup_intake::{Environment, Settings};

use crate::support::{Foreign, Scope, eline, run_bare, store_at, wait};

const DATABASE: &str = "TURNUP_TEST_CRASH_DATABASE";
const PREFIX: &str = "TURNUP_TEST_CRASH_PREFIX";

/// Not a test by itself: the process that dies.
#[test]
#[ignore = "started by the test below as a process of its own"]
fn child() {
    let (database, prefix) = (std::env::var(DATABASE).unwrap(), std::env::var(PREFIX).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = store_at(database);
        let broker = crate::support::broker_at(&prefix, None);
        let mut settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
        settings.amqp_grants.insert("guest".to_owned(), vec![turnup_core::policy::Role::Provisioner]);
        let shutdown = tokio_util::sync::CancellationToken::new();
        let library = crate::support::library(store.clone()).await;
        let regions = crate::support::regions();
        let environment = Environment { settings, regions, store, broker, library, metrics: None };
        turnup_intake::run(environment, shutdown).await.unwrap();
    });
}

/// Runs an intake that dies at `point`.
async fn die_at(scope: &Scope, point: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env("TURNUP_CRASH_POINT", point)
        .env(DATABASE, scope.database.url())
        .env(PREFIX, &scope.prefix)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(!ended.success(), "it died at {point}");
    wait("its messages to be back", async || {
        let depth = scope.broker.depth(&scope.broker.names().intake()).await.unwrap();
        depth.messages == 30 && depth.consumers == 0
    })
    .await;
}

#[test]
fn a_crash_before_or_after_the_commit_loses_and_doubles_nothing() {
    run_bare(async |scope| {
        let foreign = Foreign::connect(scope).await;
        for n in 0..30 {
            let properties = BasicProperties::default().with_message_id(format!("m-{n}").into());
            foreign.publish(eline().to_string().as_bytes(), properties).await;
        }
        die_at(scope, "intake.before_commit").await;
        assert_eq!(scope.count("orders").await, 0, "not acknowledged and not stored");
        die_at(scope, "intake.after_commit").await;
        let stored = scope.count("orders").await;
        assert!(stored > 0, "stored and not acknowledged");
        let intake = scope.intake(Settings::default()).await;
        wait("all orders to be stored", async || scope.count("orders").await == 30).await;
        wait("the queue to be empty", async || scope.intake_depth().await == 0).await;
        intake.stop().await;
        assert_eq!(scope.intake_depth().await, 0);
        assert_eq!(scope.count("orders").await, 30);
        assert_eq!(scope.count("events WHERE what = 'requested'").await, 30);
        assert_eq!(scope.parked().await, 0);
    });
}
