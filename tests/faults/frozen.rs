//! A worker is frozen in the middle of a transaction (SIGSTOP), another takes over, and the first goes on as if
//! nothing had happened. What it does then must change nothing: not the network, not the records. The same with the
//! relay, frozen between reading what it is to send and sending it.

use turnup_device_sim::{datastore::Kind, journal::Record};
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const POINTS: [&str; 4] = [
    "worker.after_prepare",
    "worker.after_provisional",
    "worker.after_confirm_first",
    "worker.after_confirm",
];

const WORKER: [&str; 4] = ["serve", "worker", "--region", "eu-west"];

/// The broker notices soon that a frozen worker is gone.
const HEARTBEAT: (&str, &str) = ("TURNUP_BROKER_HEARTBEAT_S", "2");

/// When the frozen one goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumed {
    /// As soon as the other has taken over.
    Amid,
    /// When the other is through with it.
    Afterwards,
}

/// All roles but the workers. A frozen worker's sessions hold its locks for as long as it is frozen, so for the
/// successor to come to an end meanwhile, it must not wait for them for long.
async fn cluster(lock_wait_ms: u32) -> Cluster {
    let limits = format!(
        "[scheduler.limits]\nconfirm_timeout_s = 10\nlock_wait_ms = {lock_wait_ms}\ntotal_timeout_ms = 60000\n"
    );
    let regions = vec![("eu-west".to_owned(), 8)];
    let mut cluster =
        Cluster::new(Options { regions, config: limits, ladder_levels: 6, ..Options::default() }).await;
    for role in ["intake", "scheduler", "recorder"] {
        cluster.start(role, &["serve", role], &[]);
    }
    cluster.intake_ready().await;
    cluster.register_devices().await;
    cluster
}

fn journal(cluster: &Cluster, devices: &[String]) -> Vec<Record> {
    let all = cluster.simulator.journal().unwrap();
    all.into_iter().filter(|record| devices.contains(&record.device)).collect()
}

/// What a client does to a device; the rest a device does by itself.
fn is_done_by_a_client(record: &Record) -> bool {
    !matches!(record.kind, Kind::TimedOut | Kind::Reverted)
}

async fn freezes(cluster: &mut Cluster, n: u32, point: &str, resumed: Resumed) -> String {
    let say = format!("{point}, resumed {resumed:?}");
    let devices = [2 * n + 1, 2 * n + 2].map(|at| format!("sim-eu-west-{at}"));
    let chosen = format!("stop:{point}");
    cluster.start("frozen", &WORKER, &[("TURNUP_CRASH_POINT", &chosen), HEARTBEAT]);
    let answer = cluster.api.post("/v1/orders", &eline(n, &devices[0], &devices[1])).await;
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let frozen = until(&format!("the worker to stop {say}"), PATIENCE, || async {
        let frozen = cluster.processes.get("frozen").unwrap();
        frozen.is_stopped().then(|| frozen.id())
    })
    .await;
    // Each of its sessions is the first with its device; the successor's are later ones.
    let before = journal(cluster, &devices);
    assert!(before.iter().all(|record| record.session == 1), "{say}: {before:#?}");
    cluster.start("successor", &WORKER, &[HEARTBEAT]);
    let taken_over = format!(
        "SELECT count(*) FROM deployments JOIN deployment_orders ON deployment_id = id \
         WHERE order_id = '{id}' AND attempt = 2"
    );
    until(&format!("the other to take over: {say}"), PATIENCE, || async {
        (cluster.count(&taken_over).await == 1).then_some(())
    })
    .await;
    if resumed == Resumed::Afterwards {
        ended(cluster, &id).await;
    }
    let seen = journal(cluster, &devices);
    cluster.process("frozen").signal("CONT");
    let state = ended(cluster, &id).await;
    // It ends when what it had begun has come to its end, and its reports are out.
    let status = cluster.process("frozen").terminate(PATIENCE);
    assert!(status.success(), "{say}: process {frozen} ended with {status}");
    let later = journal(cluster, &devices);
    let by_frozen = later.iter().skip(seen.len()).filter(|record| record.session == 1);
    let by_frozen: Vec<&Record> = by_frozen.filter(|record| is_done_by_a_client(record)).collect();
    match resumed {
        // What it may do: end what is its own and still pending, under the lock that it still holds; by going on to
        // confirm only where it had begun to, so that its successor goes forward as well.
        Resumed::Amid => {
            let confirming = point == "worker.after_confirm_first";
            let may = |kind: Kind| kind == Kind::Cancelled || (confirming && kind == Kind::Confirmed);
            assert!(by_frozen.iter().all(|record| may(record.kind)), "{say}: {by_frozen:#?}")
        }
        Resumed::Afterwards => assert_eq!(later.len(), seen.len(), "{say}: {later:#?}"),
    }
    let status = cluster.process("successor").terminate(PATIENCE);
    assert!(status.success(), "{say}: the successor ended with {status}");
    state
}

/// Waits until the order has ended, and gives the state in which it has.
async fn ended(cluster: &Cluster, id: &str) -> String {
    until(&format!("order {id} to end"), PATIENCE * 2, || async {
        let order = cluster.api.get(&format!("/v1/orders/{id}")).await.body;
        let state = order["state"].as_str().unwrap_or_default().to_owned();
        ["completed", "failed_deploy"].contains(&state.as_str()).then_some(state)
    })
    .await
}

async fn check(cluster: &Cluster) {
    invariants::history_is_lawful(cluster).await;
    invariants::nothing_is_stuck(cluster).await;
    invariants::network_is_as_recorded(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_while_its_successor_is_at_it_changes_nothing() {
    let mut cluster = cluster(20_000).await;
    for (n, point) in (0..).zip(POINTS) {
        let state = freezes(&mut cluster, n, point, Resumed::Amid).await;
        assert_eq!(state, "completed", "{point}");
        check(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_when_all_is_over_changes_nothing() {
    let mut cluster = cluster(2_000).await;
    for (n, point) in (0..).zip(POINTS) {
        let state = freezes(&mut cluster, n, point, Resumed::Afterwards).await;
        // Where the frozen worker's sessions hold locks, its successor can only give way.
        let wanted = if point == "worker.after_confirm" { "completed" } else { "failed_deploy" };
        assert_eq!(state, wanted, "{point}");
        check(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_wakes_up_when_all_is_over_changes_nothing() {
    let mut cluster = cluster(20_000).await;
    assert!(cluster.process("scheduler").terminate(PATIENCE).success());
    // That the order is due passes first, then its deployment. The connection to the broker outlives the frost, the
    // right to relay does not.
    let frozen = [
        ("TURNUP_CRASH_POINT", "stop:relay.before_publish:2"),
        ("TURNUP_BROKER_HEARTBEAT_S", "600"),
        ("TURNUP_DATABASE_TIMEOUT_MS", "1500"),
    ];
    cluster.start("frozen", &["serve", "scheduler"], &frozen);
    cluster.start("worker", &WORKER, &[]);
    let devices = [1, 2].map(|at| format!("sim-eu-west-{at}"));
    let answer = cluster.api.post("/v1/orders", &eline(0, &devices[0], &devices[1])).await;
    let id = answer.body["id"].as_str().unwrap().to_owned();
    until("the relay to stop", PATIENCE, || async {
        cluster.processes.get("frozen").unwrap().is_stopped().then_some(())
    })
    .await;
    cluster.start("scheduler", &["serve", "scheduler"], &[]);
    assert_eq!(ended(&cluster, &id).await, "completed");
    let before = journal(&cluster, &devices);
    cluster.process("frozen").signal("CONT");
    until("the first relay to learn that it is none any more", PATIENCE, || async {
        cluster.processes.get("frozen").unwrap().output().contains("the relay stops").then_some(())
    })
    .await;
    // By then it has sent what it had read, and the worker gets that before it ends.
    until("the worker to take it", PATIENCE, || async { cluster.queues_are_empty().await.then_some(()) })
        .await;
    assert!(cluster.process("worker").terminate(PATIENCE).success());
    let later = journal(&cluster, &devices);
    assert_eq!(later.len(), before.len(), "{later:#?}");
    check(&cluster).await;
    let sent = "SELECT count(*) FROM deployments WHERE attempt = 2 AND state = 'committed'";
    assert_eq!(
        cluster.count(sent).await,
        1,
        "the second relay has sent it as one that may have been sent before"
    );
}
