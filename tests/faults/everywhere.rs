//! Every role is killed at every named point, at its first passage, its second, and so on until an order
//! comes through without reaching the point so often. The order lies in two regions or in one,
//! once all goes well and once a device refuses. What the simulators' journals show must be all or nothing,
//! and what the order says.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::Value;
use turnup_device_sim::{
    behaviour::{Act, Behaviour, Fault, Refusal},
    datastore::Kind,
};
use turnup_netconf::message::ErrorTag;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const WEST: [&str; 2] = ["sim-eu-west-1", "sim-eu-west-2"];
const EAST: &str = "sim-us-east-1";

const WORKER: (&str, &[&str]) = ("worker-eu-west", &["serve", "worker", "--region", "eu-west"]);
const SCHEDULER: (&str, &[&str]) = ("scheduler", &["serve", "scheduler"]);
const RECORDER: (&str, &[&str]) = ("recorder", &["serve", "recorder"]);
const INTAKE: (&str, &[&str]) = ("intake", &["serve", "intake"]);

/// How the order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Plot {
    /// Over two regions; no device refuses.
    Over,
    /// Over two regions; the device of the other region refuses, so that what the first has done is undone.
    OverRefused,
    /// In one region.
    Within,
    /// In one region, of whose devices the second refuses when it is to commit.
    WithinRefused,
}

impl Plot {
    const fn all() -> &'static [Self] {
        &[Self::Over, Self::OverRefused, Self::Within, Self::WithinRefused]
    }

    const fn devices(self) -> [&'static str; 2] {
        match self {
            Self::Over | Self::OverRefused => [WEST[0], EAST],
            Self::Within | Self::WithinRefused => WEST,
        }
    }

    /// The refusing device, and what it refuses.
    const fn refuses(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::OverRefused => Some((EAST, "edit-config")),
            Self::WithinRefused => Some((WEST[1], "confirmed-commit")),
            Self::Over | Self::Within => None,
        }
    }

    const fn wanted(self) -> &'static str {
        match self.refuses() {
            Some(_) => "invalid",
            None => "completed",
        }
    }
}

async fn submit(cluster: &Cluster, order: &Value) -> String {
    until("the order to be accepted", PATIENCE, || async {
        let answer = cluster.api.try_call(Method::POST, "/v1/orders", Some(order), &[]).await?;
        if answer.status.is_success() {
            return answer.body["id"].as_str().map(str::to_owned);
        }
        // Accepted, and the answer lost with the intake.
        let external_id = order["external_id"].as_str()?;
        let path = format!("/v1/orders?external_id={external_id}");
        let found = cluster.api.try_call(Method::GET, &path, None, &[]).await?;
        found.body["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await
}

const ENDS: [&str; 3] = ["completed", "invalid", "failed_deploy"];

/// The process that is to die, started again as soon as it has.
struct Victim<'a> {
    name: &'a str,
    arguments: &'a [&'a str],
    died: bool,
}

impl Victim<'_> {
    fn revive(&mut self, cluster: &mut Cluster) {
        if !self.died && !cluster.process(self.name).is_running() {
            cluster.start(self.name, self.arguments, &[]);
            self.died = true;
        }
    }
}

/// Whether everything is published, and taken by whom it is for.
async fn is_quiet(cluster: &Cluster) -> bool {
    let open = "SELECT (SELECT numbered - published FROM event_log) + (SELECT count(*) FROM fresh_events) + \
                (SELECT count(*) FROM outbox)";
    cluster.count(open).await == 0 && cluster.queues_are_empty().await
}

/// Runs one order with the process set to die. Returns whether it died.
async fn run(
    cluster: &mut Cluster,
    (name, arguments): (&str, &[&str]),
    point: &str,
    hit: usize,
    plot: Plot,
    n: u32,
) -> bool {
    let devices = plot.devices();
    for device in devices {
        cluster.behave(device, Behaviour::default()).await;
    }
    if let Some((device, operation)) = plot.refuses() {
        let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
        let faults = vec![Fault::before(operation, refuse).at(0)];
        cluster.behave(device, Behaviour { faults, ..Behaviour::default() }).await;
    }
    let already = cluster.simulator.journal().unwrap().len();
    let what = format!("{point}:{hit} {plot:?}");
    cluster.process(name).kill();
    cluster.start(name, arguments, &[("TURNUP_CRASH_POINT", &format!("{point}:{hit}"))]);
    let mut victim = Victim { name, arguments, died: false };
    let order = eline(n, devices[0], devices[1]);
    let mut accepted = None;
    if name == "intake" {
        // Ready, so that the first call reaches its point; where it dies before it has answered, none comes.
        cluster.intake_ready().await;
        match cluster.api.try_call(Method::POST, "/v1/orders", Some(&order), &[]).await {
            Some(answer) => {
                assert!(answer.status.is_success(), "{what}: {answer:?}");
                accepted = answer.body["id"].as_str().map(str::to_owned);
            }
            None => {
                cluster.process(name).wait(PATIENCE);
            }
        }
    }
    victim.revive(cluster);
    let id = match accepted {
        Some(id) => id,
        None => submit(cluster, &order).await,
    };
    let began = Instant::now();
    let order = loop {
        victim.revive(cluster);
        let order = cluster.api.try_call(Method::GET, &format!("/v1/orders/{id}"), None, &[]).await;
        match order
            .map(|answer| answer.body)
            .filter(|order| ENDS.iter().any(|state| order["state"] == *state))
        {
            // What follows the order's end may be where it dies.
            Some(order) if is_quiet(cluster).await => break order,
            _ => {}
        }
        assert!(began.elapsed() < PATIENCE * 2, "{what}: order {id} does not end\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    victim.revive(cluster);
    assert_eq!(order["state"], plot.wanted(), "{what}: {order}");
    check(cluster, &what, plot, &order, already).await;
    victim.died
}

async fn check(cluster: &Cluster, what: &str, plot: Plot, order: &Value, already: usize) {
    let service = order["service_id"].as_str().unwrap();
    for device in plot.devices() {
        let is_there = cluster.running_config(device).contains(service);
        assert_eq!(is_there, plot.refuses().is_none(), "{what}: {device}");
    }
    let journal = cluster.simulator.journal().unwrap();
    for device in plot.devices() {
        let kinds = journal
            .iter()
            .skip(already)
            .filter(|record| record.device == device && !record.changes.is_empty());
        let last = kinds.map(|record| record.kind).next_back();
        let is_back = matches!(last, None | Some(Kind::Cancelled | Kind::TimedOut | Kind::Reverted));
        assert!(plot.refuses().is_none() || is_back, "{what}: {device} ends with {last:?}");
    }
    invariants::history_is_lawful(cluster).await;
    invariants::nothing_is_stuck(cluster).await;
    invariants::network_is_as_recorded(cluster).await;
}

/// Kills at each of the points until none is left.
async fn exhaust(role: (&str, &[&str]), points: &[&str]) {
    let options = Options {
        regions: vec![("eu-west".to_owned(), 2), ("us-east".to_owned(), 1)],
        config: "[scheduler]\nsweep_every_ms = 1000\noverdue_ms = 5000\nlost_after_ms = 15000\n\
                 [scheduler.limits]\nconfirm_timeout_s = 20\n"
            .to_owned(),
        ladder_levels: 6,
        ..Options::default()
    };
    let mut cluster = Cluster::running(options).await;
    let mut table: BTreeMap<(&str, Plot), usize> = BTreeMap::new();
    let mut n = 0;
    for point in points {
        for plot in Plot::all() {
            for hit in 1.. {
                assert!(hit < 50, "{point} has no end");
                n += 1;
                if !run(&mut cluster, role, point, hit, *plot, n).await {
                    break;
                }
                *table.entry((point, *plot)).or_default() += 1;
            }
        }
    }
    for ((point, plot), deaths) in &table {
        eprintln!("{point:28} {plot:13?} killed {deaths} times, each time {}", plot.wanted());
    }
    for point in points {
        assert!(table.keys().any(|(reached, _)| reached == point), "{point} was never reached");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn worker() {
    let points = [
        "worker.after_prepare",
        "worker.after_provisional",
        "worker.after_hold",
        "worker.after_confirm_first",
        "worker.after_confirm",
        "worker.after_undo",
        "worker.after_report",
    ];
    exhaust(WORKER, &points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorder() {
    exhaust(RECORDER, &["recorder.before_commit", "recorder.after_commit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduler() {
    exhaust(SCHEDULER, &["scheduler.before_commit", "scheduler.after_commit", "relay.after_publish"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn intake() {
    exhaust(INTAKE, &["intake.before_commit", "intake.after_commit"]).await;
}
