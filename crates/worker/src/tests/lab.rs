//! Devices, a scheduler and a reader of reports to run deployments with.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::time::Instant;
use turnup_broker::{Headers, Outgoing, PublishError};
use turnup_core::{
    attempt,
    failure::FailureClass,
    id::{DeploymentId, OrderId},
    lifecycle::DeploymentEvent,
    message::{
        self, Body as _, Claim, ClaimAnswer, ClaimKind, Condition, Deployment, DeviceEdit, DeviceWork,
        InForce, Limits, Part, Purpose, StateChange,
    },
    name::{CredentialRef, DeviceName, PlatformName, RegionName},
    profile::Profile,
    transcript::Transcript,
};
use turnup_device_sim::{DeviceSpec, Options, Personality, SimDevice, Simulator, behaviour::Behaviour};
use turnup_netconf::{
    message::Reply,
    operation::{ConfirmedCommit, Datastore, EditConfig, Operation},
    ssh::{self, Credentials, Session, Target},
    xml::parse_str,
};
use uuid::Uuid;

use crate::{
    Assignment, CredentialSource, SecretSource, Settings, Transcripts,
    currency::{Claims, Moment},
    deploy::{Context, Outcome, Reports, Run},
    serve::Shared,
};

const PASSWORD: &str = "pass of the lab";

/// Where `edit` puts its value.
const DESCRIPTION: &str = "/interfaces/interface[name='ge-0']/description";

pub(crate) struct Lab {
    pub(crate) simulator: Simulator,
    pub(crate) shared: Shared,
    pub(crate) scheduler: Scheduler,
    pub(crate) told: Told,
    /// Whether the broker regards the delivery as ours.
    pub(crate) held: AtomicBool,
    pub(crate) directory: PathBuf,
    /// The platform profile that deployments carry.
    pub(crate) profile: Profile,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A scheduler: what it answers to claims, and how many it got.
#[derive(Default)]
pub(crate) struct Scheduler {
    pub(crate) take_over: Mutex<Option<i32>>,
    pub(crate) superseded: AtomicBool,
    pub(crate) silent: AtomicBool,
    pub(crate) claims: AtomicUsize,
    /// When it got the first one.
    pub(crate) first: Mutex<Option<Instant>>,
}

impl Claims for Scheduler {
    fn ask(&self, claim: Claim, _: Duration) -> BoxFuture<'_, Result<ClaimAnswer, String>> {
        Box::pin(async move {
            self.claims.fetch_add(1, Ordering::SeqCst);
            self.first.lock().unwrap().get_or_insert_with(Instant::now);
            if self.silent.load(Ordering::SeqCst) {
                return Err("nobody there".to_owned());
            }
            let attempt = match claim.claim {
                ClaimKind::TakeOver => *self.take_over.lock().unwrap(),
                ClaimKind::Check => (!self.superseded.load(Ordering::SeqCst)).then_some(claim.attempt),
            };
            Ok(ClaimAnswer { attempt })
        })
    }
}

/// Reports on the way, and transcripts of what was not brought to an end.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<StateChange>>, pub(crate) Mutex<Vec<Transcript>>);

impl Reports for Told {
    fn tell(&self, message: Outgoing) -> BoxFuture<'_, Result<(), PublishError>> {
        match StateChange::decode(&message.body) {
            Ok(report) => self.0.lock().unwrap().push(report),
            Err(_) => self.1.lock().unwrap().push(Transcript::decode(&message.body).unwrap()),
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Told {
    pub(crate) fn events(&self) -> Vec<DeploymentEvent> {
        self.0.lock().unwrap().iter().map(|report| report.event).collect()
    }
}

pub(crate) fn settings() -> Settings {
    Settings { report_after_ms: 50_000, transcripts: Transcripts::All, ..Settings::default() }
}

impl Lab {
    /// With devices `sim-lab-1` and so on.
    pub(crate) async fn start(devices: u16) -> Self {
        Self::with(devices, settings()).await
    }

    pub(crate) async fn with(devices: u16, settings: Settings) -> Self {
        Self::of(DeviceSpec::many("lab", devices, 0), settings, Profile::default()).await
    }

    /// With devices that behave like this server, changed by this profile.
    pub(crate) async fn of_personality(devices: u16, personality: Personality, profile: Profile) -> Self {
        let specs = DeviceSpec::many("lab", devices, 0).into_iter();
        Self::of(specs.map(|spec| spec.with_personality(personality)).collect(), settings(), profile).await
    }

    async fn of(specs: Vec<DeviceSpec>, settings: Settings, profile: Profile) -> Self {
        let directory = std::env::temp_dir().join(format!("turnup-lab-{}", Uuid::now_v7()));
        let options = Options::new(specs, directory.clone(), SecretString::from(PASSWORD));
        let simulator = Simulator::start(options).await.unwrap();
        let password = directory.join("password");
        std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let assignment = assignment(password);
        let scheduler = Scheduler::default();
        *scheduler.take_over.lock().unwrap() = Some(2);
        let held = AtomicBool::new(true);
        let shared = Shared::new(settings, assignment);
        Self { simulator, shared, scheduler, told: Told::default(), held, directory, profile }
    }

    pub(crate) fn device(&self, n: usize) -> Arc<SimDevice> {
        self.simulator.device(&format!("sim-lab-{n}")).unwrap()
    }

    pub(crate) async fn behave(&self, n: usize, behaviour: Behaviour) {
        self.device(n).set_behaviour(behaviour).await.unwrap();
    }

    /// What the device has where `edit` puts its value.
    pub(crate) fn value(&self, n: usize) -> Option<String> {
        self.device(n).running().get(DESCRIPTION).map(|value| value.to_string())
    }

    /// Asserts what each device has, and that nothing of ours is left on it.
    pub(crate) fn assert_all(&self, at: &[usize], value: Option<&str>) {
        for n in at {
            assert_eq!(self.value(*n).as_deref(), value, "device {n}");
            self.assert_clean(*n);
        }
    }

    pub(crate) fn assert_clean(&self, n: usize) {
        assert!(!self.device(n).has_pending_commit(), "device {n} has a pending commit");
        assert!(!self.device(n).candidate_is_changed(), "device {n} has a dirty candidate");
    }

    /// A deployment of one order that puts `value` on these devices.
    pub(crate) fn deployment(&self, at: &[usize], value: &str) -> Deployment {
        let order = OrderId(Uuid::now_v7());
        let devices = at.iter().map(|n| self.work(*n, edit(order, value))).collect();
        Deployment {
            deployment: DeploymentId(Uuid::now_v7()),
            attempt: 1,
            generation: 1,
            region: RegionName::new("lab").unwrap(),
            orders: vec![order],
            purpose: Purpose::Change,
            past_unknown: false,
            devices,
            limits: Limits {
                connect_timeout_ms: 5_000,
                rpc_timeout_ms: 5_000,
                lock_wait_ms: 600,
                tries: 3,
                confirm_timeout_s: 20,
                total_timeout_ms: 120_000,
            },
        }
    }

    fn work(&self, n: usize, edit: DeviceEdit) -> DeviceWork {
        let device = self.device(n);
        DeviceWork {
            device: DeviceName::new(device.name()).unwrap(),
            address: device.address().ip().to_string(),
            port: device.address().port(),
            platform: PlatformName::new("sim").unwrap(),
            host_key: Some(device.host_key()),
            credential: Some(CredentialRef::new("lab").unwrap()),
            epoch: 1,
            profile: self.profile.clone(),
            pending_tokens: Vec::new(),
            before_confirm: None,
            inside: turnup_core::nodes::NodeFacts::default(),
            edits: vec![edit],
            audit: None,
        }
    }

    /// Runs a deployment as it comes from the queue, `is_repeat` or not.
    pub(crate) async fn run(&self, deployment: &Deployment, is_repeat: bool) -> Outcome {
        run(&self.shared, &self.scheduler, &self.told, &self.held, deployment, is_repeat).await
    }

    /// Runs a deployment whose message has this age.
    pub(crate) async fn run_aged(&self, deployment: &Deployment, is_repeat: bool, age: Duration) -> Outcome {
        let stage = message::Stage::Whole;
        let part = Part { stage, attempt: deployment.attempt, deployment: deployment.clone() };
        run_aged(&self.shared, &self.scheduler, &self.told, &self.held, &part, is_repeat, age).await
    }

    /// Runs a stage of a part over several regions to its report.
    pub(crate) async fn stage(
        &self,
        deployment: &Deployment,
        stage: message::Stage,
        is_repeat: bool,
    ) -> StateChange {
        let part = Part { stage, attempt: deployment.attempt, deployment: deployment.clone() };
        let outcome = run_part(&self.shared, &self.scheduler, &self.told, &self.held, &part, is_repeat);
        reported(outcome.await)
    }

    /// Runs a first delivery to its report.
    pub(crate) async fn deploy(&self, deployment: &Deployment) -> StateChange {
        reported(self.run(deployment, false).await)
    }

    /// Runs a redelivery to its report.
    pub(crate) async fn recover(&self, deployment: &Deployment) -> StateChange {
        reported(self.run(deployment, true).await)
    }

    /// Opens a session past the worker.
    pub(crate) async fn open(&self, n: usize) -> Session {
        let work = self.deployment(&[n], "").devices.remove(0);
        open(&work, &Credentials::password("ncdev", SecretString::from(PASSWORD))).await
    }

    /// Does at a device what a worker does, up to a point, and dies.
    pub(crate) async fn leave(&self, n: usize, deployment: &Deployment, stage: Stage) {
        let name = self.device(n).name().to_owned();
        let work = deployment.devices.iter().find(|work| work.device.as_str() == name).unwrap();
        let credentials = Credentials::password("ncdev", SecretString::from(PASSWORD));
        drop(leave_at(work, &credentials, deployment, stage).await);
    }
}

/// Where a worker of the lab serves, with the password from this file.
pub(crate) fn assignment(password: PathBuf) -> Assignment {
    let source =
        CredentialSource { username: "ncdev".to_owned(), secret: SecretSource::PasswordFile(password) };
    Assignment {
        worker_name: "worker-of-the-lab".to_owned(),
        regions: vec![RegionName::new("lab").unwrap()],
        credentials: BTreeMap::from([(CredentialRef::new("lab").unwrap(), source)]),
    }
}

/// Runs a deployment as it comes from the queue, `is_repeat` or not.
pub(crate) async fn run(
    shared: &Shared,
    scheduler: &Scheduler,
    told: &Told,
    held: &AtomicBool,
    deployment: &Deployment,
    is_repeat: bool,
) -> Outcome {
    let part =
        Part { stage: message::Stage::Whole, attempt: deployment.attempt, deployment: deployment.clone() };
    run_part(shared, scheduler, told, held, &part, is_repeat).await
}

/// The same with a part.
pub(crate) async fn run_part(
    shared: &Shared,
    scheduler: &Scheduler,
    told: &Told,
    held: &AtomicBool,
    part: &Part,
    is_repeat: bool,
) -> Outcome {
    // What comes again has been on its way for a while.
    let age = if is_repeat { attempt::TAKEN_OVER_AFTER } else { Duration::ZERO };
    run_aged(shared, scheduler, told, held, part, is_repeat, age).await
}

/// The same with a message of this age.
pub(crate) async fn run_aged(
    shared: &Shared,
    scheduler: &Scheduler,
    told: &Told,
    held: &AtomicBool,
    part: &Part,
    is_repeat: bool,
    age: Duration,
) -> Outcome {
    let context = Context { shared, claims: scheduler, reports: told, exchange: "state".to_owned() };
    let held = || held.load(Ordering::SeqCst);
    let run = Run {
        context: &context,
        deployment: &part.deployment,
        stage: part.stage,
        attempt: part.attempt,
        headers: Headers::new().with("traceparent", "00-trace"),
        is_repeat,
        held: &held,
        began: Instant::now(),
        published: Moment::now().before(age),
    };
    tokio::time::timeout(Duration::from_secs(100), Box::pin(run.run())).await.unwrap()
}

/// Opens a session as a worker does.
pub(crate) async fn open(work: &DeviceWork, credentials: &Credentials) -> Session {
    let target = Target::new(work.address.clone(), work.port);
    let key = work.host_key.as_ref().unwrap().parse().unwrap();
    let options = ssh::Options { settle: Duration::from_millis(20), ..ssh::Options::default() };
    ssh::connect(&target, credentials, &key, &options).await.unwrap()
}

/// Does at a device what a worker does, up to a point. It dies with the session.
pub(crate) async fn leave_at(
    work: &DeviceWork,
    credentials: &Credentials,
    deployment: &Deployment,
    stage: Stage,
) -> Session {
    let mut session = open(work, credentials).await;
    let config = format!("<x>{}</x>", work.edits[0].edit);
    let edit = parse_str(&config, &turnup_netconf::xml::Limits::default()).unwrap();
    let persist = deployment.deployment.to_string();
    let commit = ConfirmedCommit {
        confirm_timeout_s: deployment.limits.confirm_timeout_s,
        persist: Some(persist.clone()),
        persist_id: None,
    };
    // Not every device grants both.
    for datastore in [Datastore::Running, Datastore::Candidate] {
        let by = Instant::now() + Duration::from_secs(10);
        session.rpc(&Operation::lock(datastore), by).await.unwrap();
    }
    let edit = EditConfig::new(Datastore::Candidate, edit.into_children());
    ask(&mut session, Operation::edit_config(edit)).await;
    if stage >= Stage::Committed {
        ask(&mut session, Operation::commit_confirmed(&commit)).await;
    }
    if stage >= Stage::Confirmed {
        ask(&mut session, Operation::commit_confirming(&persist)).await;
    }
    session
}

/// Asks a device, which must not refuse.
pub(crate) async fn ask(session: &mut Session, operation: Operation) -> Reply {
    let by = Instant::now() + Duration::from_secs(10);
    session.rpc(&operation, by).await.unwrap().into_result().unwrap()
}

/// How far a worker had got when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Prepared,
    Committed,
    Confirmed,
}

/// Merges a description; going back removes the interface.
pub(crate) fn edit(order: OrderId, value: &str) -> DeviceEdit {
    let interface = |operation: &str, inside: &str| {
        format!(
            r#"<interfaces xmlns="urn:turnup:sim"><interface xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"{operation}><name>ge-0</name>{inside}</interface></interfaces>"#
        )
    };
    let merge = interface("", &format!("<description>{value}</description>"));
    let filter = interface("", "");
    DeviceEdit {
        order,
        edit: merge.clone(),
        inverse: interface(r#" nc:operation="remove""#, ""),
        filter: filter.clone(),
        after: Condition::Contains(merge),
        before: Condition::Lacks(filter),
        keys: BTreeMap::from([("interface".to_owned(), vec!["name".to_owned()])]),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: Vec::new(),
        whole: None,
    }
}

/// The edit that takes another one back, as an order of its own.
pub(crate) fn reversed(edit: DeviceEdit) -> DeviceEdit {
    DeviceEdit { edit: edit.inverse, inverse: edit.edit, after: edit.before, before: edit.after, ..edit }
}

pub(crate) fn reported(outcome: Outcome) -> StateChange {
    match outcome {
        Outcome::Report(messages) => {
            let message = messages.last().unwrap();
            assert_eq!(message.headers.text("traceparent"), Some("00-trace"));
            StateChange::decode(&message.body).unwrap()
        }
        other => panic!("no report but {other:?}"),
    }
}

/// What was said, where it was written down.
pub(crate) fn transcript(outcome: Outcome) -> Option<Transcript> {
    let Outcome::Report(messages) = outcome else { panic!("no report but {outcome:?}") };
    match &messages[..] {
        [transcript, report] => {
            assert_eq!(transcript.routing_key, report.routing_key, "one way for both");
            Some(Transcript::decode(&transcript.body).unwrap())
        }
        _ => None,
    }
}

/// What is said to be in force, in the order of the devices.
pub(crate) fn in_force(report: &StateChange) -> Vec<InForce> {
    report.devices.iter().map(|device| device.in_force).collect()
}

/// The classes of the failures at a device.
pub(crate) fn classes(report: &StateChange, device: usize) -> Vec<FailureClass> {
    report.devices[device].failures.iter().map(|failure| failure.class).collect()
}

/// The steps at a device.
pub(crate) fn steps(report: &StateChange, device: usize) -> Vec<&str> {
    report.devices[device].steps.iter().map(|step| step.step.as_str()).collect()
}
