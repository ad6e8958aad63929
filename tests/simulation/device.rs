//! Devices: the datastores of the simulator (`turnup-device-sim`) in virtual time, and a network before them that
//! loses requests, answers and sessions.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use turnup_core::id::DeploymentId;
use turnup_device_sim::{
    Personality,
    datastore::{Commit, Datastores, Edit, Kind, SessionId, Transition},
    path::Path,
    personality::CandidateCopy,
};
use turnup_netconf::{
    message::{ErrorTag, ErrorType, RpcError},
    operation::{Datastore, DefaultOperation, ErrorOption, TestOption},
    xml::Element,
};

use crate::{
    store::Work,
    world::{Ms, OUTSIDE, Process, Signal, World, trace},
};

/// What a service holds on a device: a number, or nothing.
pub(crate) type Value = Option<u32>;

/// On whose behalf a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) process: Process,
    pub(crate) deployment: DeploymentId,
    pub(crate) attempt: i32,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Lock(Datastore),
    Unlock(Datastore),
    Read(u32),
    Edit(Rc<Element>),
    /// Provisional: the token, and after how many seconds it goes back.
    CommitFor(String, u32),
    /// Confirms what is pending under the token.
    Confirm(String),
    Commit,
    Cancel(String),
    Discard,
}

/// The answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Ok,
    Data(Value),
    Errors(Vec<RpcError>),
}

impl Reply {
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self, Self::Ok)
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Errors(_))
    }
}

/// No answer, or not to all.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    /// The answers to the first requests.
    pub(crate) answered: Vec<Reply>,
    /// Nothing of it has reached the device.
    pub(crate) not_sent: bool,
}

type Answered = Result<Vec<Reply>, Silence>;

/// A change of running.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) at: Ms,
    pub(crate) kind: Kind,
    /// Who made it, or whose commit went back.
    pub(crate) owner: Option<Owner>,
    /// By service: before and after.
    pub(crate) changes: Vec<(u32, Value, Value)>,
}

#[derive(Debug)]
struct Line {
    owner: Owner,
    id: SessionId,
    busy: bool,
    hung_up: bool,
    /// The network, the client's process or its patience has ended it before its work was over.
    lost: bool,
}

/// A device.
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) region: usize,
    /// Its candidate keeps what was rolled back and what a lost session has edited, and its lock is granted all the
    /// same: each deployment discards that before its edit.
    keeps_residue: bool,
    /// Its candidate may hold residue that no worker could discard: a session was lost or abandoned under its lock, or
    /// a timer has rolled back, and no deployment has come since.
    residue_is_excused: Cell<bool>,
    data: RefCell<Datastores>,
    lines: RefCell<BTreeMap<u32, Line>>,
    numbers: Cell<u32>,
    boot: Cell<u32>,
    /// Who has a number once had this session.
    owners: RefCell<BTreeMap<u32, Owner>>,
    /// Nobody gets through.
    pub(crate) cut_off: Cell<bool>,
    /// Every request takes so much longer.
    pub(crate) slowness: Cell<Ms>,
    /// Every provisional commit takes so much longer.
    pub(crate) commit_slowness: Cell<Ms>,
    /// It refuses edits as invalid.
    pub(crate) refuses: Cell<bool>,
    /// It answers ok to a commit and does nothing.
    pub(crate) lies: Cell<bool>,
    pub(crate) journal: RefCell<Vec<Record>>,
    /// When it could not be worked with: from, and until when.
    pub(crate) troubles: RefCell<Vec<(Ms, Ms)>>,
}

/// How likely the network does harm.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Roughness {
    pub(crate) no_connect: f64,
    pub(crate) lost_before: f64,
    pub(crate) lost_within: f64,
    pub(crate) lost_after: f64,
    pub(crate) commit_refused: f64,
}

/// All devices. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Network {
    world: World,
    devices: Rc<Vec<Device>>,
    rough: Rc<Cell<Roughness>>,
    start: Instant,
    /// What must not have happened.
    pub(crate) complaints: Rc<RefCell<Vec<String>>>,
}

/// The path of a service's value.
fn path(service: u32) -> Path {
    Path::parse(&format!("/interfaces/interface[name='ge-{service}']/mtu")).unwrap()
}

/// The edit that gives a service this value.
pub(crate) fn edit(service: u32, value: Value) -> Element {
    let namespace = turnup_netconf::namespace::BASE;
    let interface = match value {
        Some(value) => format!("<interface><name>ge-{service}</name><mtu>{value}</mtu></interface>"),
        None => format!(r#"<interface nc:operation="remove"><name>ge-{service}</name></interface>"#),
    };
    let text = format!(
        r#"<config xmlns="{namespace}" xmlns:nc="{namespace}"><interfaces xmlns="urn:turnup:sim">{interface}</interfaces></config>"#
    );
    turnup_netconf::xml::parse_str(&text, &turnup_netconf::xml::Limits::default()).unwrap()
}

impl Device {
    fn new(name: String, region: usize, personality: Personality) -> Self {
        Self {
            name,
            region,
            keeps_residue: personality.candidate_copy == CandidateCopy::Own,
            residue_is_excused: Cell::new(false),
            data: RefCell::new(Datastores::default().with_personality(personality)),
            lines: RefCell::default(),
            numbers: Cell::new(0),
            boot: Cell::new(0),
            owners: RefCell::default(),
            cut_off: Cell::new(false),
            slowness: Cell::new(0),
            commit_slowness: Cell::new(0),
            refuses: Cell::new(false),
            lies: Cell::new(false),
            journal: RefCell::default(),
            troubles: RefCell::default(),
        }
    }

    pub(crate) fn value(&self, service: u32) -> Value {
        self.data.borrow().running().get(&path(service)).and_then(|text| text.parse().ok())
    }

    /// Whether what this deployment had committed provisionally by then has gone back by its timer, and was not
    /// in force all the same.
    pub(crate) fn has_timed_out(&self, deployment: DeploymentId, work: &Work, by: Ms) -> bool {
        let journal = self.journal.borrow();
        let past = || journal.iter().rev().skip_while(|record| record.at > by);
        let own = |record: &&Record| record.owner.is_some_and(|owner| owner.deployment == deployment);
        let last = past().find(own).map(|record| record.kind);
        let changes = past().flat_map(|record| &record.changes);
        let value = changes.filter(|(service, ..)| *service == work.service).map(|(.., after)| *after).next();
        last == Some(Kind::TimedOut) && value.flatten() != work.new
    }

    /// What is left on it that should not be when nobody works on it.
    pub(crate) fn leftovers(&self) -> Option<&'static str> {
        let holds = self.data.borrow().holds();
        if holds.pending.is_some() {
            return Some("a pending commit");
        }
        if !holds.armed.is_empty() {
            return Some("an armed rollback");
        }
        if holds.candidate_is_changed && !(self.keeps_residue && self.residue_is_excused.get()) {
            return Some("a changed candidate");
        }
        (holds.running_lock.is_some() || holds.candidate_lock.is_some()).then_some("a lock")
    }

    fn apply(&self, at: Ms, transition: Transition) {
        let value = |text: &Option<Box<str>>| text.as_ref().and_then(|text| text.parse().ok());
        let changes = transition.changes.iter().filter(|change| change.path.to_string().ends_with("/mtu"));
        let service = |path: &Path| {
            let text = path.to_string();
            text.split("ge-")
                .nth(1)
                .and_then(|rest| rest.split('\'').next().and_then(|n| n.parse().ok()))
                .unwrap()
        };
        let changes: Vec<_> =
            changes.map(|change| (service(&change.path), value(&change.old), value(&change.new))).collect();
        if transition.kind == Kind::TimedOut {
            self.residue_is_excused.set(true);
        }
        let owner = self.owners.borrow().get(&transition.session.number).copied();
        self.journal.borrow_mut().push(Record { at, kind: transition.kind, owner, changes });
        self.data.borrow_mut().apply(transition);
    }
}

impl Network {
    /// Devices in these regions, each with its personality.
    pub(crate) fn new(world: &World, devices: &[(usize, Personality)], rough: Roughness) -> Self {
        let devices = devices.iter().enumerate();
        let devices =
            devices.map(|(n, (region, personality))| Device::new(format!("d{n}"), *region, *personality));
        Self {
            world: world.clone(),
            devices: Rc::new(devices.collect()),
            rough: Rc::new(Cell::new(rough)),
            start: Instant::now(),
            complaints: Rc::default(),
        }
    }

    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.world.now())
    }

    /// Opens a session; `Err`: there is no connection.
    pub(crate) async fn connect(&self, at: usize, owner: Owner, by: Ms) -> Result<u32, ()> {
        let device = &self.devices[at];
        self.world.sleep_between(5, 90).await;
        if device.cut_off.get() || self.world.mishap(self.rough.get().no_connect) {
            // Refused at once, or nothing at all.
            if self.world.chance(0.5) {
                self.lose_time(at);
                self.world.sleep_until(by.min(self.world.now() + 10_000)).await;
            }
            return Err(());
        }
        self.world.sleep(device.slowness.get() / 2).await;
        if self.world.now() >= by {
            return Err(());
        }
        let number = device.numbers.get() + 1;
        device.numbers.set(number);
        let id = SessionId { boot: device.boot.get(), number };
        device.data.borrow_mut().open_session(id);
        device.owners.borrow_mut().insert(number, owner);
        device
            .lines
            .borrow_mut()
            .insert(number, Line { owner, id, busy: false, hung_up: false, lost: false });
        Ok(number)
    }

    /// The client has gone; the device carries out what it was sent before, and then notices.
    pub(crate) fn hang_up(&self, at: usize, session: u32, after: Ms) {
        let network = self.clone();
        self.world.spawn(OUTSIDE, async move {
            network.world.sleep(after).await;
            let idle = match network.devices[at].lines.borrow_mut().get_mut(&session) {
                Some(line) => {
                    line.hung_up = true;
                    // A superseded worker closes its session without a further request. A server that follows
                    // RFC 6241 §8.3.5.2 discards what the holder of the candidate's lock has edited.
                    let device = &network.devices[at];
                    let holds_candidate = device.data.borrow().holds().candidate_lock == Some(session);
                    line.lost |= line.busy || holds_candidate;
                    !line.busy
                }
                None => false,
            };
            if idle {
                network.end(at, session);
            }
        });
    }

    /// The network or the client's process has ended a session before its work was over.
    fn lose(&self, at: usize, session: u32, after: Ms) {
        if let Some(line) = self.devices[at].lines.borrow_mut().get_mut(&session) {
            line.lost = true;
        }
        self.hang_up(at, session, after);
    }

    fn end(&self, at: usize, session: u32) {
        let device = &self.devices[at];
        let Some(line) = device.lines.borrow_mut().remove(&session) else { return };
        if line.lost {
            device.residue_is_excused.set(true);
        }
        let rollback = device.data.borrow().plan_session_end(line.id);
        if let Some(rollback) = rollback {
            device.apply(self.world.now(), rollback);
        }
        device.data.borrow_mut().close_session(line.id);
    }

    /// A process has died: its sessions end, sooner or later.
    pub(crate) fn hang_up_all(&self, process: Process) {
        for (at, device) in self.devices.iter().enumerate() {
            let lines = device.lines.borrow();
            let of = lines.iter().filter(|(_, line)| line.owner.process == process);
            let sessions: Vec<u32> = of.map(|(number, _)| *number).collect();
            drop(lines);
            for session in sessions {
                self.lose(at, session, self.a_while(at));
            }
        }
    }

    /// How long it takes until the device notices that a connection is gone.
    fn a_while(&self, at: usize) -> Ms {
        let after = if self.world.chance(0.8) { self.world.pick(0..50) } else { self.world.pick(0..90_000) };
        if after > 10_000 {
            // As long as it holds the locks nobody can tell what it is at.
            let now = self.world.now();
            self.devices[at].troubles.borrow_mut().push((now, now + after));
        }
        after
    }

    /// The device starts anew.
    pub(crate) fn reboot(&self, at: usize) {
        let device = &self.devices[at];
        trace!(self.world, "{} REBOOTS", device.name);
        let rollback = device.data.borrow().plan_reboot();
        if let Some(rollback) = rollback {
            device.apply(self.world.now(), rollback);
        }
        device.data.borrow_mut().reboot();
        device.lines.borrow_mut().clear();
        device.boot.set(device.boot.get() + 1);
    }

    /// Sends requests in one write and waits for all answers.
    pub(crate) async fn send(&self, at: usize, session: u32, asks: Vec<Ask>, by: Ms) -> Answered {
        if !self.devices[at].lines.borrow().contains_key(&session) && self.world.chance(0.5) {
            // That is known already, or it shows when nothing comes back.
            return Err(Silence { answered: Vec::new(), not_sent: true });
        }
        let answer = Rc::new(RefCell::new(None));
        let arrived = Signal::new(&self.world);
        let work = self.clone().carry_out(at, session, asks, Rc::clone(&answer), arrived.clone());
        self.world.spawn(OUTSIDE, work);
        let answered = arrived.until(|| answer.borrow_mut().take());
        match self.world.within(by, answered).await {
            Some(result) => result,
            None => Err(Silence { answered: Vec::new(), not_sent: false }),
        }
    }

    async fn carry_out(
        self,
        at: usize,
        session: u32,
        asks: Vec<Ask>,
        answer: Rc<RefCell<Option<Answered>>>,
        arrived: Signal,
    ) {
        let (world, device, rough) = (&self.world, &self.devices[at], self.rough.get());
        let give = |result| {
            *answer.borrow_mut() = Some(result);
            arrived.notify();
        };
        world.sleep_between(1, 15).await;
        if device.cut_off.get() || world.mishap(rough.lost_before) {
            self.lose(at, session, self.a_while(at));
            if world.chance(0.5) {
                give(Err(Silence { answered: Vec::new(), not_sent: false }));
            } else {
                self.lose_time(at);
            }
            return;
        }
        let stops_after = world.mishap(rough.lost_within).then(|| world.pick(0..asks.len() as u64 + 1));
        // What was received is carried out although the connection is gone, or not.
        let goes_on = world.chance(0.7);
        if let Some(line) = device.lines.borrow_mut().get_mut(&session) {
            line.busy = true;
        }
        let mut replies = Vec::with_capacity(asks.len());
        for (n, ask) in asks.into_iter().enumerate() {
            if stops_after == Some(n as u64) {
                give(Err(Silence { answered: replies.clone(), not_sent: false }));
                self.lose(at, session, 0);
                if !goes_on {
                    break;
                }
            }
            let own = if matches!(ask, Ask::CommitFor(..) | Ask::Commit) {
                world.pick(5..400)
            } else {
                world.pick(0..4)
            };
            let more = if matches!(ask, Ask::CommitFor(..)) { device.commit_slowness.get() } else { 0 };
            world.sleep(own + more + device.slowness.get()).await;
            let Some(id) = device.lines.borrow().get(&session).map(|line| line.id) else { break };
            let reply = self.obey(at, id, ask);
            replies.push(reply);
        }
        let is_over = {
            let mut lines = device.lines.borrow_mut();
            lines.get_mut(&session).is_none_or(|line| {
                line.busy = false;
                line.hung_up
            })
        };
        if is_over {
            self.end(at, session);
            if stops_after.is_none() {
                give(Err(Silence { answered: replies, not_sent: false }));
            }
            return;
        }
        world.sleep_between(1, 15).await;
        if device.cut_off.get() || world.mishap(rough.lost_after) {
            self.lose(at, session, self.a_while(at));
            if world.chance(0.5) {
                give(Err(Silence { answered: Vec::new(), not_sent: false }));
            } else {
                self.lose_time(at);
            }
            return;
        }
        match stops_after {
            None => give(Ok(replies)),
            // Everything was done, and nobody hears of it.
            Some(n) if n >= replies.len() as u64 => self.lose_time(at),
            Some(_) => {}
        }
    }

    /// Somebody waits for nothing as long as he may.
    fn lose_time(&self, at: usize) {
        let now = self.world.now();
        self.devices[at].troubles.borrow_mut().push((now, now + 30_000));
    }

    fn obey(&self, at: usize, id: SessionId, ask: Ask) -> Reply {
        let device = &self.devices[at];
        let refusal = |tag| RpcError::new(ErrorType::Application, tag);
        let done = |result: Result<(), Vec<RpcError>>| match result {
            Ok(()) => Reply::Ok,
            Err(errors) => Reply::Errors(errors),
        };
        device.data.borrow_mut().note_request(self.instant());
        let word = if self.world.is_traced() { format!("{ask:?}") } else { String::new() };
        let reply = match ask {
            Ask::Lock(store) => done(device.data.borrow_mut().lock(id, store)),
            Ask::Unlock(store) => done(device.data.borrow_mut().unlock(id, store)),
            Ask::Read(service) => Reply::Data(device.value(service)),
            Ask::Discard => {
                let discarded = device.data.borrow_mut().discard_changes(id);
                if discarded.is_ok() {
                    device.residue_is_excused.set(false);
                }
                done(discarded)
            }
            Ask::Edit(_) if device.refuses.get() => Reply::Errors(vec![refusal(ErrorTag::InvalidValue)]),
            Ask::Edit(config) => {
                let edit = Edit {
                    default_operation: DefaultOperation::Merge,
                    test_option: TestOption::TestThenSet,
                    error_option: ErrorOption::RollbackOnError,
                    config: &config,
                };
                done(device.data.borrow_mut().edit_candidate(id, edit))
            }
            Ask::CommitFor(..) | Ask::Commit if self.world.mishap(self.rough.get().commit_refused) => {
                let commit = match ask {
                    Ask::CommitFor(persist, seconds) => confirmed(persist, seconds),
                    _ => Commit::default(),
                };
                self.refuse(at, id, &commit);
                Reply::Errors(vec![refusal(ErrorTag::OperationFailed)])
            }
            Ask::CommitFor(..) | Ask::Commit if device.lies.get() => {
                done(device.data.borrow_mut().discard_changes(id))
            }
            Ask::CommitFor(persist, seconds) => self.commit(at, id, &confirmed(persist, seconds)),
            Ask::Commit => self.commit(at, id, &Commit::default()),
            Ask::Confirm(persist) => {
                self.commit(at, id, &Commit { persist_id: Some(persist), ..Commit::default() })
            }
            Ask::Cancel(persist) => {
                let planned = device.data.borrow().plan_cancel(id, Some(&persist));
                done(planned.map(|transition| device.apply(self.world.now(), transition)))
            }
        };
        if self.world.is_traced() {
            let owner = device.owners.borrow().get(&id.number).copied();
            let owner =
                owner.map_or(String::new(), |o| format!("{}/{}", crate::short(o.deployment.0), o.attempt));
            let reply = match &reply {
                Reply::Errors(errors) => errors.iter().map(|e| e.tag.as_str()).collect::<Vec<_>>().join(","),
                other => format!("{other:?}"),
            };
            let word = if word.starts_with("Edit") { "Edit" } else { &word };
            trace!(self.world, "  {}[{}] {owner} {word} -> {reply}", device.name, id.number);
        }
        reply
    }

    fn commit(&self, at: usize, id: SessionId, commit: &Commit) -> Reply {
        let device = &self.devices[at];
        let planned = device.data.borrow().plan_commit(id, commit, self.instant());
        match planned {
            Ok(transition) => {
                device.apply(self.world.now(), transition);
                self.mind_timer(at);
                Reply::Ok
            }
            Err(errors) => {
                self.refuse(at, id, commit);
                Reply::Errors(errors)
            }
        }
    }

    /// A commit is refused, and may leave something.
    fn refuse(&self, at: usize, id: SessionId, commit: &Commit) {
        let device = &self.devices[at];
        let left = device.data.borrow().plan_refused_commit(id, commit, self.instant());
        if let Some(left) = left {
            trace!(self.world, "  {} refuses a commit and keeps its timer", device.name);
            device.apply(self.world.now(), left);
            self.mind_timer(at);
        }
    }

    /// Lets the rollbacks take place that are armed by now.
    fn mind_timer(&self, at: usize) {
        let network = self.clone();
        self.world.spawn(OUTSIDE, async move {
            let device = &network.devices[at];
            loop {
                let due = device.data.borrow().rollback_due();
                let Some(due) = due else { return };
                let due = due.saturating_duration_since(network.start).as_millis();
                network.world.sleep_until(Ms::try_from(due).unwrap()).await;
                let rollback = device.data.borrow().plan_expiry(network.instant());
                if let Some(rollback) = rollback {
                    trace!(network.world, "  {}: its timer fires, {:?}", device.name, rollback.kind);
                    device.apply(network.world.now(), rollback);
                }
            }
        });
    }
}

/// The parameters of a provisional commit.
fn confirmed(persist: String, seconds: u32) -> Commit {
    Commit { confirmed: Some(Duration::from_secs(seconds.into())), persist: Some(persist), persist_id: None }
}
