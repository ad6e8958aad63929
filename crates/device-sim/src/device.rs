//! One device: its datastores behind a lock, its clock, its misbehaviour, its place in the network.

mod parts;
mod served;
mod style;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use turnup_netconf::message::{ErrorTag, ErrorType, Reply, RpcError};
use turnup_netconf::operation::Datastore;
use turnup_netconf::server::{self, HostKeyPair, Outcome};
use turnup_netconf::xml::Element;

use crate::behaviour::{Act, Behaviour, Lie, Moment, Play};
use crate::datastore::{Datastores, Errors, Holds, Kind, SessionId, Transition};
use crate::journal::{Journal, JournalError};
use crate::network::Network;
use crate::path::Path;
use crate::personality::Personality;
use crate::request::{CISCO_IA, Request, edit_by_hand, monitoring_state, schema_text};
use crate::simulator::{InventoryEntry, SimulatorError};
use parts::Replies;
use served::Served;
use style::Style;

/// What all devices of a simulator share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) journal: Journal,
    pub(crate) username: String,
    pub(crate) password: Option<SecretString>,
    /// Public keys as `ssh-ed25519 AAAA…` without comment.
    pub(crate) authorized_keys: Vec<String>,
    pub(crate) server: Arc<server::Options>,
    /// What the host keys are made from.
    pub(crate) secret: [u8; 32],
}

/// A device. A handle to it is an [`Arc`] of this, cheap to clone.
#[derive(Debug)]
pub struct SimDevice {
    name: String,
    region: String,
    shared: Arc<Shared>,
    state: Mutex<State>,
    pub(crate) network: tokio::sync::Mutex<Network>,
    address: SocketAddr,
}

#[derive(Debug)]
struct State {
    datastores: Datastores,
    play: Play,
    boot: u32,
    /// Takes a confirmed commit back in time.
    timer: Option<AbortHandle>,
    /// The rest of answers that are given in parts.
    replies: Replies,
}

const GARBAGE: &[u8] = b"\n%Error: unrecognised command\n\0\xff\n";

impl SimDevice {
    pub(crate) fn new(
        name: String,
        region: String,
        shared: Arc<Shared>,
        datastores: Datastores,
        boot: u32,
        network: Network,
        address: SocketAddr,
    ) -> Self {
        let state =
            State { datastores, play: Play::default(), boot, timer: None, replies: Replies::default() };
        Self {
            name,
            region,
            shared,
            state: Mutex::new(state),
            network: tokio::sync::Mutex::new(network),
            address,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where it listens, or would if it weren't down.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its true host key, `ssh-ed25519 AAAA…`.
    pub fn host_key(&self) -> String {
        self.host_key_pair("host key").public_key()
    }

    fn host_key_pair(&self, purpose: &str) -> HostKeyPair {
        let mut hash = Sha256::new();
        for part in [&self.shared.secret[..], purpose.as_bytes(), b"\0", self.name.as_bytes()] {
            hash.update(part);
        }
        HostKeyPair::from_seed(&hash.finalize().into())
    }

    /// The device as it is put into an inventory.
    pub fn inventory_entry(&self) -> InventoryEntry {
        InventoryEntry {
            name: self.name.clone(),
            region: self.region.clone(),
            platform: "sim".to_owned(),
            address: self.address.ip().to_string(),
            port: self.address.port(),
            host_key: self.host_key(),
        }
    }

    /// The running configuration: values of the leaves by their paths.
    pub fn running(&self) -> BTreeMap<String, Box<str>> {
        let state = self.lock();
        let leaves = state.datastores.running().iter();
        leaves.map(|(path, value)| (path.to_string(), value.clone())).collect()
    }

    /// The running configuration as XML for people: the `<data>` element of `get-config`.
    pub fn running_xml(&self) -> String {
        let data = self.lock().datastores.get_config(Datastore::Running, None);
        data.map(|data| data.to_pretty_xml()).unwrap_or_default()
    }

    /// Whether the candidate differs from running.
    pub fn candidate_is_changed(&self) -> bool {
        self.lock().datastores.candidate_is_changed()
    }

    /// What is held, pending or armed.
    pub fn holds(&self) -> Holds {
        self.lock().datastores.holds()
    }

    /// Its personality.
    pub fn personality(&self) -> Personality {
        *self.lock().datastores.personality()
    }

    /// Changes its personality. Sessions that are open go on; what they were offered in hello stays as it was.
    pub fn set_personality(&self, personality: Personality) {
        self.lock().datastores.set_personality(personality);
    }

    /// Whether a confirmed commit waits to be confirmed.
    pub fn has_pending_commit(&self) -> bool {
        self.lock().datastores.confirm_deadline().is_some()
    }

    /// Sets a leaf of state such as `/interfaces/interface[name='ge-0']/oper-status` (`None`: leaves it to
    /// the device again). It is reported as long as its list entry is configured, and lost at a restart.
    ///
    /// # Errors
    /// If there is no such leaf, or it doesn't take the value.
    pub fn set_state(&self, path: &str, value: Option<&str>) -> Result<(), SimulatorError> {
        let path = Path::parse(path).map_err(|error| SimulatorError::State(error.to_string()))?;
        self.lock().datastores.set_state(path, value).map_err(SimulatorError::State)
    }

    /// Edits running past all NETCONF sessions, as somebody does at the console, and whatever the profile
    /// says. `xml` is either a `<config>` of `edit-config`, in which the attribute `operation` may be used, or
    /// a whole `<edit-config>`, or one node of the top of the data tree, which is merged. The journal has it as
    /// a commit of session 0. A device that is down can be edited too.
    ///
    /// # Errors
    /// If it isn't XML, if the edit is refused (also for a lock of running that a session holds), or if the
    /// journal can't be written. Then nothing was changed.
    pub fn edit_running(self: &Arc<Self>, xml: &str) -> Result<(), SimulatorError> {
        let edit = edit_by_hand(xml).map_err(SimulatorError::Edit)?;
        let mut state = self.lock();
        let session = SessionId::by_hand(state.boot.saturating_sub(1));
        let (transition, errors) = state.datastores.plan_edit_running(session, edit.edit());
        if !errors.is_empty() {
            let texts: Vec<String> = errors.iter().map(RpcError::to_string).collect();
            return Err(SimulatorError::Edit(texts.join("; ")));
        }
        match transition {
            Some(transition) => Ok(self.make(&mut state, transition)?),
            None => Ok(()),
        }
    }

    // Misbehaviour.

    /// How it behaves now.
    pub fn behaviour(&self) -> Behaviour {
        self.lock().play.behaviour.clone()
    }

    /// How many requests each fault of its behaviour has fitted since [`Self::set_behaviour`].
    pub fn requests_by_fault(&self) -> Vec<u32> {
        self.lock().play.counts().to_vec()
    }

    /// Changes how it behaves; faults count their requests from now on. When this returns, it is in effect,
    /// also `down`.
    ///
    /// # Errors
    /// If the device can't listen where it did before.
    pub async fn set_behaviour(self: &Arc<Self>, behaviour: Behaviour) -> Result<(), SimulatorError> {
        let mut network = self.network.lock().await;
        let down = behaviour.down;
        {
            let mut state = self.lock();
            let phantom = behaviour.phantom_lock.as_ref();
            let holder = |holds: bool| phantom.filter(|_| holds).map(|phantom| phantom.session_id);
            let running = holder(phantom.is_some_and(|phantom| phantom.running));
            let candidate = holder(phantom.is_some_and(|phantom| phantom.candidate));
            state.datastores.set_phantom_locks(running, candidate);
            state.play = Play::new(behaviour);
        }
        if down { network.go_down(self).await } else { network.go_up(self) }
    }

    /// A power cut: connections are cut, locks, candidate and a confirmed commit that is pending are lost,
    /// the last being taken back (RFC 6241 §8.4.1).
    ///
    /// # Errors
    /// If the device can't listen where it did before.
    pub async fn reboot(self: &Arc<Self>) -> Result<(), SimulatorError> {
        let mut network = self.network.lock().await;
        network.go_down(self).await?;
        let down = {
            let mut state = self.lock();
            if let Some(mut rollback) = state.datastores.plan_reboot() {
                if rollback.session.number == 0 {
                    rollback.session = SessionId::by_hand(state.boot.saturating_sub(1));
                }
                self.make_in_any_case(&mut state, rollback);
            }
            state.datastores.reboot();
            state.play.behaviour.down
        };
        if down { Ok(()) } else { network.go_up(self) }
    }

    /// Begins to serve: the result is the device as the server needs it.
    pub(crate) fn next_boot(self: &Arc<Self>) -> Arc<Served> {
        let mut state = self.lock();
        let served = Arc::new(Served { device: self.clone(), boot: state.boot });
        state.boot += 1;
        served
    }

    pub(crate) fn server_options(&self) -> Arc<server::Options> {
        match self.personality().idle_timeout {
            Some(idle_timeout) => Arc::new(server::Options { idle_timeout, ..(*self.shared.server).clone() }),
            None => self.shared.server.clone(),
        }
    }

    // Changes of running.

    /// Writes a change to the journal and makes it.
    fn make(self: &Arc<Self>, state: &mut State, transition: Transition) -> Result<(), JournalError> {
        self.journal(&transition)?;
        self.make_without_journal(state, transition);
        Ok(())
    }

    /// As [`SimDevice::make`], for what a device can't refuse to do. Only after a shutdown nothing is done.
    fn make_in_any_case(self: &Arc<Self>, state: &mut State, transition: Transition) {
        match self.journal(&transition) {
            Err(JournalError::Closed) => return,
            Err(error) => tracing::error!(device = self.name, %error, "a change is missing in the journal"),
            Ok(()) => {}
        }
        self.make_without_journal(state, transition);
    }

    fn journal(&self, transition: &Transition) -> Result<(), JournalError> {
        let Transition { kind, session, persist, changes, .. } = transition;
        self.shared.journal.append(&self.name, *session, *kind, persist.as_deref(), changes)?;
        Ok(())
    }

    fn make_without_journal(self: &Arc<Self>, state: &mut State, transition: Transition) {
        let before = state.datastores.rollback_due();
        state.datastores.apply(transition);
        let due = state.datastores.rollback_due();
        if due == before {
            return;
        }
        if let Some(timer) = state.timer.take() {
            timer.abort();
        }
        if let Some(due) = due {
            let device = Arc::downgrade(self);
            state.timer = Some(tokio::spawn(expire(device, due.into())).abort_handle());
        }
    }

    /// Running becomes what the device starts with.
    fn save(&self, state: &mut State, session: SessionId) -> Result<(), Refused> {
        state.datastores.save(session)?;
        self.shared.journal.append(&self.name, session, Kind::Saved, None, &[])?;
        Ok(())
    }

    /// A session has ended: what it alone held is taken back and released.
    fn session_is_gone(self: &Arc<Self>, state: &mut State, session: SessionId) {
        if let Some(rollback) = state.datastores.plan_session_end(session) {
            self.make_in_any_case(state, rollback);
        }
        state.datastores.close_session(session);
        state.replies.forget(session);
    }

    // Requests.

    async fn rpc(self: &Arc<Self>, session: SessionId, operation: &Element) -> Outcome {
        let (fault, delay_ms) = {
            let mut state = self.lock();
            let fault = state.play.next(operation);
            let behaviour = &state.play.behaviour;
            let commit_ms = if operation.name() == "commit" { behaviour.commit_delay_ms } else { 0 };
            (fault, behaviour.rpc_delay_ms.saturating_add(commit_ms))
        };
        if let Some((Moment::Before, act)) = &fault
            && let Some(outcome) = befall(act).await
        {
            return outcome;
        }
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let outcome = self.execute(session, operation);
        if let Some((Moment::After, act)) = &fault
            && let Some(outcome) = befall(act).await
        {
            return outcome;
        }
        outcome
    }

    fn execute(self: &Arc<Self>, session: SessionId, operation: &Element) -> Outcome {
        let mut state = self.lock();
        if !state.datastores.is_open(session) {
            // Killed, or the device has started anew meanwhile.
            return Outcome::Drop;
        }
        state.datastores.note_request(Instant::now().into_std());
        let offers = state.play.behaviour.profile.restrict(state.datastores.personality());
        let style = Style { errors: offers.errors, is_commit: operation.name() == "commit" };
        let request = match Request::parse(operation, &offers) {
            Ok(request) => request,
            Err(errors) => return Outcome::Reply(style.refusal(errors)),
        };
        match self.answer(&mut state, session, request) {
            Ok(reply) => Outcome::Reply(style.success(reply)),
            Err(Refused::Errors(errors)) => Outcome::Reply(style.refusal(errors)),
            Err(Refused::Journal(JournalError::Closed)) => Outcome::Drop,
            Err(Refused::Journal(error)) => {
                tracing::error!(device = self.name, %error, "a change was refused");
                let error = RpcError::new(ErrorType::Application, ErrorTag::OperationFailed)
                    .with_message("the simulator can't write its journal");
                Outcome::Reply(Reply::with_errors([error]))
            }
        }
    }

    fn answer(
        self: &Arc<Self>,
        state: &mut State,
        session: SessionId,
        request: Request<'_>,
    ) -> Result<Reply, Refused> {
        let datastores = &mut state.datastores;
        match request {
            Request::Lock(datastore) => datastores.lock(session, datastore)?,
            Request::Unlock(datastore) => datastores.unlock(session, datastore)?,
            Request::Get { filter, defaults } => {
                let offset = SignedDuration::from_millis(state.play.behaviour.clock_offset_ms);
                let now = Timestamp::now();
                // A clock can't say what lies beyond the calendar.
                let now = now.checked_add(offset).unwrap_or(now);
                let data = datastores.get_as(now, || vec![monitoring_state()], filter, defaults);
                return Ok(state.replies.first(session, data, datastores.personality()));
            }
            Request::GetConfig { source, filter, defaults } => {
                let data = datastores.get_config_as(source, filter, defaults)?;
                return Ok(state.replies.first(session, data, datastores.personality()));
            }
            Request::GetNext { set } => return Ok(state.replies.next(session, set)?),
            Request::SaveConfig => {
                self.save(state, session)?;
                let result = Element::new(CISCO_IA, "result").with_text("Save running-config successful");
                return Ok(Reply::with_content([result]));
            }
            Request::SaveStartup => self.save(state, session)?,
            Request::DeleteStartup => datastores.delete_startup(session)?,
            Request::EditConfig { target: Datastore::Running, edit } => {
                let (transition, errors) = datastores.plan_edit_running(session, edit);
                if let Some(transition) = transition {
                    self.make(state, transition)?;
                }
                if !errors.is_empty() {
                    return Err(Refused::Errors(errors));
                }
            }
            Request::EditConfig { edit, .. } => datastores.edit_candidate(session, edit)?,
            Request::CopyConfig { target: Datastore::Running, source } => {
                let transition = datastores.plan_copy_to_running(session, source)?;
                self.make(state, transition)?;
            }
            Request::CopyConfig { source, .. } => datastores.copy_to_candidate(session, source)?,
            Request::Validate(source) => datastores.validate(source)?,
            Request::Commit(mut commit) => {
                let lie = state.play.behaviour.lie;
                if lie == Some(Lie::ConfirmedCommitIsFinal) {
                    commit.confirmed = None;
                }
                let now = Instant::now().into_std();
                let transition = match datastores.plan_commit(session, &commit, now) {
                    Ok(transition) => transition,
                    Err(errors) => {
                        if let Some(left) = datastores.plan_refused_commit(session, &commit, now) {
                            self.make(state, left)?;
                        }
                        return Err(Refused::Errors(errors));
                    }
                };
                if lie == Some(Lie::CommitChangesNothing) {
                    datastores.discard_changes(session)?;
                } else {
                    self.make(state, transition)?;
                }
            }
            Request::CancelCommit { persist_id } => {
                let transition = datastores.plan_cancel(session, persist_id.as_deref())?;
                self.make(state, transition)?;
            }
            Request::DiscardChanges => datastores.discard_changes(session)?,
            Request::Ping(ping) => {
                let vrf_is_up = ping.vrf.as_deref().and_then(|vrf| datastores.vrf_is_up(vrf));
                return Ok(Reply::with_content(ping.answer(vrf_is_up, &state.play.behaviour.pings)?));
            }
            Request::GetSchema { identifier, version, format } => {
                let more = state.play.behaviour.yang_comment_bytes;
                let text = schema_text(&identifier, version.as_deref(), format.as_deref(), more);
                return Ok(Reply::with_content([text?]));
            }
        }
        Ok(Reply::ok())
    }
}

/// Why a request isn't carried out.
enum Refused {
    Errors(Errors),
    Journal(JournalError),
}

impl From<Errors> for Refused {
    fn from(errors: Errors) -> Self {
        Self::Errors(errors)
    }
}

impl From<JournalError> for Refused {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// Lets an act happen; the result is what takes the place of the answer.
async fn befall(act: &Act) -> Option<Outcome> {
    match act {
        Act::Hang => Some(Outcome::Silence),
        Act::Drop => Some(Outcome::Drop),
        Act::Garbage => Some(Outcome::Raw(GARBAGE.to_vec())),
        Act::Refuse(refusal) => Some(Outcome::Reply(Reply::with_errors([refusal.to_error()]))),
        Act::DelayMs(delay_ms) => {
            tokio::time::sleep(Duration::from_millis(*delay_ms)).await;
            None
        }
    }
}

/// Takes a confirmed commit back when its time has passed.
async fn expire(device: Weak<SimDevice>, deadline: Instant) {
    let mut due = deadline;
    loop {
        tokio::time::sleep_until(due).await;
        let Some(device) = device.upgrade() else { return };
        let mut state = device.lock();
        if let Some(rollback) = state.datastores.plan_expiry(Instant::now().into_std()) {
            // If another is armed, it gets a task of its own.
            return device.make_in_any_case(&mut state, rollback);
        }
        // A request has come since, and this device waits for silence.
        match state.datastores.rollback_due() {
            Some(later) => due = later.into(),
            None => return,
        }
    }
}
