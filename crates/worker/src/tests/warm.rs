//! Warm sessions: one that has died without anybody knowing costs its next user seconds, and nothing else.
//! And limits: how many are kept, asked, opened, and worked on at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::{join, join_all};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};
use turnup_core::{
    ask::{Ask, Question},
    audit::{AuditWork, ConfigAudit, ConfigWork},
    lifecycle::DeploymentEvent,
    message::{Deployment, Purpose, Stage, StateChange},
    name::RegionName,
};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault};
use turnup_netconf::operation::Operation;

use super::lab::{Lab, in_force, settings, steps};
use crate::{RegionLimits, Settings, ask::answer, deploy::Outcome};

/// More than a first use of a dead session may cost, and much less than a request may take.
const SECONDS: Duration = Duration::from_secs(8);

/// A TCP proxy before a device. What goes over it can be made to vanish, as behind a firewall that has
/// forgotten the connection; connections made after that are good.
struct Line {
    port: u16,
    era: watch::Sender<u32>,
}

impl Line {
    async fn to(lab: &Lab, n: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let device = lab.device(n).address();
        let (era, eras) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut eras = eras.clone();
                eras.borrow_and_update();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(device).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = eras.changed() => {}
                    }
                    // Both ends stay open, and nothing moves, until the test is over.
                    while eras.changed().await.is_ok() {}
                });
            }
        });
        Self { port, era }
    }

    fn forget(&self) {
        self.era.send_modify(|era| *era += 1);
    }
}

/// How a warm session dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// The device has closed it.
    Closed,
    /// The connection is gone as soon as something is sent.
    Reset,
    /// The server behind a live sshd answers no more.
    Hung,
    /// What is sent vanishes.
    Forgotten,
}

const DEATHS: [Death; 4] = [Death::Closed, Death::Reset, Death::Hung, Death::Forgotten];

/// What uses a session first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Change,
    Prepare,
    Confirm,
    Audit,
    TryEdit,
    Schemas,
}

const USES: [Use; 6] = [Use::Change, Use::Prepare, Use::Confirm, Use::Audit, Use::TryEdit, Use::Schemas];

impl Death {
    async fn come(self, lab: &Lab, line: &Line) {
        let befall = |act| Behaviour { faults: vec![Fault::before("*", act)], ..Behaviour::default() };
        match self {
            Self::Closed => {
                lab.behave(1, Behaviour { down: true, ..Behaviour::default() }).await;
                lab.behave(1, Behaviour::default()).await;
            }
            Self::Reset => lab.behave(1, befall(Act::Drop)).await,
            Self::Hung => lab.behave(1, befall(Act::Hang)).await,
            Self::Forgotten => line.forget(),
        }
    }
}

/// A deployment to the device at the end of a line.
fn over(line: &Line, lab: &Lab, value: &str) -> Deployment {
    let mut deployment = lab.deployment(&[1], value);
    deployment.devices[0].port = line.port;
    deployment.limits.rpc_timeout_ms = 30_000;
    // Finding out that a session is dead is no try.
    deployment.limits.tries = 1;
    deployment
}

async fn put(lab: &Lab, deployment: &Deployment, question: Question) {
    let device = deployment.devices[0].clone();
    let ask = Ask { device, question, timeout_ms: 20_000 };
    let answer = answer(&lab.shared, &ask, Instant::now() + Duration::from_secs(20)).await;
    assert_eq!(answer.failures, [], "{answer:?}");
}

fn changes(lab: &Lab) -> usize {
    lab.simulator.journal().unwrap().iter().filter(|record| !record.changes.is_empty()).count()
}

async fn dies(death: Death, first_use: Use) {
    let lab = Lab::start(1).await;
    let line = Line::to(&lab, 1).await;
    let say = |report: &StateChange| format!("{death:?} before {first_use:?}: {report:#?}");
    let mut deployment = over(&line, &lab, "two");
    let report = lab.deploy(&over(&line, &lab, "one")).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{}", say(&report));
    if first_use == Use::Confirm {
        let report = lab.stage(&deployment, Stage::Prepare, false).await;
        assert_eq!(report.event, DeploymentEvent::Prepared, "{}", say(&report));
    }
    assert_eq!(lab.shared.pool.len(), 1);
    let before = changes(&lab);
    death.come(&lab, &line).await;
    let began = Instant::now();
    let report = match first_use {
        Use::Change => Some((lab.deploy(&deployment).await, DeploymentEvent::Committed)),
        Use::Prepare => {
            let report = lab.stage(&deployment, Stage::Prepare, false).await;
            Some((report, DeploymentEvent::Prepared))
        }
        Use::Confirm => {
            let report = lab.stage(&deployment, Stage::Confirm, false).await;
            Some((report, DeploymentEvent::Confirmed))
        }
        Use::Audit => {
            audited(&mut deployment);
            let report = lab.deploy(&deployment).await;
            let audit = report.devices[0].audit.as_ref().unwrap();
            assert_ne!(audit.config, ConfigAudit::Unreachable, "{}", say(&report));
            Some((report, DeploymentEvent::Committed))
        }
        Use::TryEdit => {
            put(&lab, &deployment, Question::TryEdit).await;
            None
        }
        Use::Schemas => {
            put(&lab, &deployment, Question::Schemas(vec![("turnup-sim".to_owned(), None)])).await;
            None
        }
    };
    assert!(began.elapsed() < SECONDS, "{death:?} before {first_use:?} took {:?}", began.elapsed());
    if let Some((report, event)) = &report {
        assert_eq!(report.event, *event, "{}", say(report));
        assert!(report.devices[0].failures.is_empty(), "{}", say(report));
        let tries = steps(report, 0).into_iter().filter(|step| *step == "connect").count();
        assert_eq!(tries, 1, "{}", say(report));
    }
    assert_eq!(lab.told.events(), [], "{death:?} before {first_use:?}: nothing was ever in doubt");
    let effects = match first_use {
        Use::Change | Use::Prepare => 1,
        _ => 0,
    };
    assert_eq!(changes(&lab) - before, effects, "{death:?} before {first_use:?}");
    assert_eq!(lab.shared.pool.len(), 1, "the new session is kept");
}

fn audited(deployment: &mut Deployment) {
    deployment.purpose = Purpose::Audit;
    deployment.devices[0].edits.clear();
    let interface =
        r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name></interface></interfaces>"#;
    let config = ConfigWork {
        footprint: interface.to_owned(),
        filter: interface.to_owned(),
        owned: Vec::new(),
        keys: [("interface".to_owned(), vec!["name".to_owned()])].into(),
        nodes: turnup_core::nodes::NodeFacts::default(),
    };
    deployment.devices[0].audit = Some(AuditWork { config: Some(config), checks: Vec::new() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_uses_a_dead_session_first_opens_another_and_goes_on() {
    let cases = USES.into_iter().flat_map(|first_use| DEATHS.map(|death| dies(death, first_use)));
    join_all(cases.map(Box::pin)).await;
}

/// The confirm arrives, and its answer doesn't.
#[tokio::test]
async fn a_confirm_that_arrived_all_the_same_is_found_out() {
    for act in [Act::Drop, Act::Hang] {
        let lab = Lab::start(1).await;
        let mut deployment = lab.deployment(&[1], "one");
        deployment.limits.rpc_timeout_ms = 2_000;
        lab.stage(&deployment, Stage::Prepare, false).await;
        // The answer to the first request is lost, so the session seems dead; the confirm is carried out by
        // somebody else before it is sent again.
        let lost = Fault::after("discard-changes", act.clone());
        lab.behave(1, Behaviour { faults: vec![lost], ..Behaviour::default() }).await;
        let confirm = Operation::commit_confirming(&deployment.deployment.to_string());
        super::lab::ask(&mut lab.open(1).await, confirm).await;
        let report = lab.stage(&deployment, Stage::Confirm, false).await;
        assert_eq!(report.event, DeploymentEvent::Confirmed, "{act:?} {report:#?}");
        lab.assert_all(&[1], Some("one"));
    }
}

/// A device that takes long for what it is asked, but is there, isn't taken for dead.
#[tokio::test]
async fn a_long_look_is_no_dead_session() {
    let lab = Lab::start(1).await;
    lab.deploy(&lab.deployment(&[1], "one")).await;
    let mut deployment = lab.deployment(&[1], "one");
    audited(&mut deployment);
    let faults = vec![Fault::before("get-config", Act::DelayMs(3_500)).at(2)];
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let report = lab.deploy(&deployment).await;
    assert_eq!(steps(&report, 0), ["probe", "get-config"], "{report:#?}");
}

#[tokio::test]
async fn a_slow_commit_is_no_dead_session() {
    let lab = Lab::start(1).await;
    let deployment = lab.deployment(&[1], "one");
    lab.stage(&deployment, Stage::Prepare, false).await;
    lab.behave(1, Behaviour { commit_delay_ms: 3_500, ..Behaviour::default() }).await;
    let report = lab.stage(&deployment, Stage::Confirm, false).await;
    assert_eq!(report.event, DeploymentEvent::Confirmed, "{report:#?}");
    assert_eq!(steps(&report, 0), ["confirm"], "once, on the warm session");
}

#[tokio::test]
async fn an_idle_session_is_kept_alive_and_a_dead_one_is_dropped() {
    let lab = Lab::with(3, Settings { keep_alive_ms: 100, ..settings() }).await;
    let pool = &lab.shared.pool;
    lab.deploy(&lab.deployment(&[1, 2, 3], "one")).await;
    let hang = Behaviour { faults: vec![Fault::before("*", Act::Hang)], ..Behaviour::default() };
    lab.behave(2, hang).await;
    lab.behave(3, Behaviour { down: true, ..Behaviour::default() }).await;
    tokio::time::sleep(Duration::from_millis(110)).await;
    let began = Instant::now();
    pool.keep_alive().await;
    pool.sweep();
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    assert_eq!(pool.len(), 1);
    lab.behave(3, Behaviour::default()).await;
    let report = lab.deploy(&lab.deployment(&[1, 2, 3], "two")).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert_eq!([0, 1, 2].map(|at| steps(&report, at)[0]), ["lock", "connect", "connect"]);
}

#[tokio::test]
async fn keep_alive_does_not_change_which_session_is_the_oldest() {
    let lab = Lab::with(3, Settings { keep_alive_ms: 1, max_warm_sessions: 2, ..settings() }).await;
    let pool = &lab.shared.pool;
    for n in [1, 2] {
        lab.deploy(&lab.deployment(&[n], "one")).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    pool.keep_alive().await;
    assert_eq!(pool.len(), 2);
    lab.deploy(&lab.deployment(&[3], "one")).await;
    assert_eq!(steps(&lab.deploy(&lab.deployment(&[2], "two")).await, 0)[0], "lock");
    assert_eq!(steps(&lab.deploy(&lab.deployment(&[1], "two")).await, 0)[0], "connect");
}

#[tokio::test]
async fn keep_alive_does_not_extend_the_idle_time_of_a_session() {
    let lab = Lab::with(1, Settings { keep_alive_ms: 1, session_idle_ms: 500, ..settings() }).await;
    let pool = &lab.shared.pool;
    lab.deploy(&lab.deployment(&[1], "one")).await;
    let dropped = async {
        while pool.len() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            pool.keep_alive().await;
            pool.sweep();
        }
    };
    tokio::time::timeout(SECONDS, dropped).await.unwrap();
}

#[tokio::test]
async fn sessions_are_looked_after_while_nobody_uses_them() {
    let lab = Lab::with(1, Settings { keep_alive_ms: 100, ..settings() }).await;
    lab.deploy(&lab.deployment(&[1], "one")).await;
    let hang = Behaviour { faults: vec![Fault::before("*", Act::Hang)], ..Behaviour::default() };
    lab.behave(1, hang).await;
    let device = lab.device(1);
    let asked = async {
        while device.requests_by_fault() == [0] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // The only request is the keep-alive's.
    tokio::select! {
        () = lab.shared.pool.tend() => {}
        asked = tokio::time::timeout(SECONDS, asked) => asked.unwrap(),
    }
    assert_eq!(lab.shared.pool.len(), 0, "a session that is being asked is not handed out");
    lab.behave(1, Behaviour::default()).await;
    // Found out by the keep-alive and not by who uses it next.
    let report = lab.deploy(&lab.deployment(&[1], "two")).await;
    assert_eq!(steps(&report, 0), ["connect", "lock", "edit-config", "commit", "confirm"]);
}

/// While a commit of ours waits to be confirmed, its session is asked like any other.
#[tokio::test]
async fn a_keep_alive_leaves_a_pending_commit_alone() {
    let lab = Lab::with(1, Settings { keep_alive_ms: 1, ..settings() }).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.limits.confirm_timeout_s = 20;
    lab.stage(&deployment, Stage::Prepare, false).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    lab.shared.pool.keep_alive().await;
    assert!(lab.device(1).has_pending_commit());
    let report = lab.stage(&deployment, Stage::Confirm, false).await;
    assert_eq!((report.event, steps(&report, 0)), (DeploymentEvent::Confirmed, vec!["confirm"]));
}

/// Devices that are at work at the moment: they hold an edit that isn't committed yet.
fn at_work(lab: &Lab, devices: usize) -> Vec<usize> {
    (1..=devices).filter(|n| lab.device(*n).candidate_is_changed()).collect()
}

/// The most devices seen at work at once until all of these are over.
async fn most_at_work(lab: &Lab, devices: usize, deployments: Vec<Deployment>) -> usize {
    for n in 1..=devices {
        lab.behave(n, Behaviour { commit_delay_ms: 60, ..Behaviour::default() }).await;
    }
    let over = AtomicBool::new(false);
    let run = async {
        let reports = join_all(deployments.iter().map(|deployment| lab.deploy(deployment))).await;
        for report in reports {
            assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
        }
        over.store(true, Ordering::SeqCst);
    };
    let watch = async {
        let mut most = 0;
        while !over.load(Ordering::SeqCst) {
            most = most.max(at_work(lab, devices).len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        most
    };
    join(run, watch).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_devices_are_worked_on_at_once_and_no_more() {
    let lab = Lab::with(6, Settings { max_devices_at_once: 2, ..settings() }).await;
    let one_each = (1..=6).map(|n| lab.deployment(&[n], "one")).collect();
    assert_eq!(most_at_work(&lab, 6, one_each).await, 2);
    // More than there can be runs alone, and all of them end, whoever overlaps.
    let mixed = [&[1, 2, 3][..], &[4], &[5, 6], &[4, 5, 6], &[1], &[2, 3]];
    let mixed = mixed.map(|at| lab.deployment(at, "two")).to_vec();
    assert_eq!(most_at_work(&lab, 6, mixed).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_has_a_limit_of_its_own() {
    let region = RegionName::new("lab").unwrap();
    let limits = RegionLimits([(region, 1)].into());
    let lab = Lab::with(3, Settings { region_limits: limits, ..settings() }).await;
    let one_each: Vec<Deployment> = (1..=3).map(|n| lab.deployment(&[n], "one")).collect();
    let elsewhere: Vec<Deployment> = (1..=3)
        .map(|n| Deployment { region: RegionName::new("moon").unwrap(), ..lab.deployment(&[n], "two") })
        .collect();
    assert_eq!(most_at_work(&lab, 3, one_each).await, 1);
    assert_eq!(most_at_work(&lab, 3, elsewhere).await, 3);
}

/// Who waits says so, is asked about after the wait, and has all its time when it begins.
#[tokio::test]
async fn waiting_for_room_is_told_and_takes_nothing_of_the_time_for_the_devices() {
    let settings = Settings { max_devices_at_once: 1, report_after_ms: 100, ..settings() };
    let lab = Lab::with(2, settings).await;
    lab.behave(1, Behaviour { commit_delay_ms: 1_200, ..Behaviour::default() }).await;
    let first = lab.deployment(&[1], "one");
    let mut second = lab.deployment(&[2], "one");
    // Two commits of the first take longer.
    second.limits.total_timeout_ms = 2_000;
    let (first, report) = join(lab.deploy(&first), lab.deploy(&second)).await;
    assert_eq!(first.event, DeploymentEvent::Committed, "{first:?}");
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert!(report.sequence > 1, "it was told that it waits: {report:?}");
    let claims = lab.scheduler.claims.load(Ordering::SeqCst);
    assert_eq!(claims, 2, "whether it is still current: after the wait, and before it commits");
}

/// The timers of devices run that wait for the decision over all regions.
#[tokio::test]
async fn a_decision_does_not_wait_for_room() {
    for stage in [Stage::Confirm, Stage::Undo] {
        let lab = Lab::with(2, Settings { max_devices_at_once: 1, ..settings() }).await;
        let prepared = lab.deployment(&[2], "one");
        lab.stage(&prepared, Stage::Prepare, false).await;
        lab.behave(1, Behaviour { commit_delay_ms: 1_500, ..Behaviour::default() }).await;
        let (other, over) = (lab.deployment(&[1], "one"), AtomicBool::new(false));
        let decided = async {
            while !lab.device(1).candidate_is_changed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let report = lab.stage(&prepared, stage, false).await;
            assert!(!over.load(Ordering::SeqCst), "it waited for the other: {report:?}");
        };
        let deploy = async {
            lab.deploy(&other).await;
            over.store(true, Ordering::SeqCst);
        };
        join(deploy, decided).await;
        assert!(!lab.device(2).has_pending_commit(), "{stage:?}");
    }
}

#[tokio::test]
async fn who_was_superseded_while_waiting_for_room_touches_nothing() {
    let lab = Lab::with(2, Settings { max_devices_at_once: 1, ..settings() }).await;
    lab.behave(1, Behaviour { commit_delay_ms: 700, ..Behaviour::default() }).await;
    lab.scheduler.superseded.store(true, Ordering::SeqCst);
    let (first, second) = (lab.deployment(&[1], "one"), lab.deployment(&[2], "one"));
    let (report, outcome) = join(lab.deploy(&first), lab.run(&second, false)).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert!(matches!(outcome, Outcome::Forget), "{outcome:?}");
    assert!(lab.simulator.journal().unwrap().iter().all(|record| record.device == "sim-lab-1"));
    assert_eq!(steps(&report, 0)[0], "connect");
    assert_eq!(lab.shared.pool.len(), 1, "no session was opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_opened_a_few_at_a_time() {
    let lab = Lab::with(8, Settings { max_connects_at_once: 1, ..settings() }).await;
    // A device that doesn't greet keeps the only place until its time is up; the others have theirs after it.
    lab.behave(
        1,
        Behaviour { greeting: turnup_device_sim::behaviour::Greeting::Silence, ..Behaviour::default() },
    )
    .await;
    let mut silent = lab.deployment(&[1], "one");
    (silent.limits.connect_timeout_ms, silent.limits.tries) = (1_500, 1);
    let rest = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        let report = lab.deploy(&lab.deployment(&[2, 3, 4, 5, 6, 7, 8], "one")).await;
        assert!(began.elapsed() > Duration::from_millis(1_000), "{:?}", began.elapsed());
        report
    };
    let (silent, rest) = join(lab.deploy(&silent), rest).await;
    assert_eq!(silent.event, DeploymentEvent::RolledBack, "{silent:?}");
    assert_eq!(rest.event, DeploymentEvent::Committed, "{rest:?}");
    assert_eq!(in_force(&rest).len(), 7);
}
