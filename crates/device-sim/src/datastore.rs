//! The datastores of a device and the rules for them (RFC 6241 §5, §7, §8.3, §8.4), without IO and clock.
//!
//! What changes running is planned first ([`Transition`]), so that the shell can write it to the journal,
//! and then applied, which can't fail. Nothing here costs more than what it changes or returns.
//!
//! The candidate is running plus changes: when running changes under it, so does the rest of the candidate.

mod edit;
mod read;
mod running;
mod state;
#[cfg(test)]
mod tests;
mod transition;
mod validate;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use turnup_netconf::message::{ErrorTag, ErrorType, RpcError};
use turnup_netconf::operation::{Datastore, DefaultOperation, ErrorOption, TestOption, WithDefaultsMode};
use turnup_netconf::xml::Element;

use crate::leaves::{Change, Draft, Leaves, NOTHING, Overlay, View};
use crate::path::{Path, steps};
use crate::personality::{
    CandidateCopy, DirtyCandidate, Edits, LockWhilePending, Persistence, Personality, RunningLock,
};
use read::{Manner, Reported};
use running::Running;
use state::{Operational, State};

pub use transition::{Kind, Transition};

/// A session of a device. Numbers begin anew when the device starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// How many times the device had started before.
    pub boot: u32,
    /// The session-id of hello.
    pub number: u32,
}

impl SessionId {
    /// Who edits running past all sessions, at the console; NETCONF gives no session the number 0.
    pub fn by_hand(boot: u32) -> Self {
        Self { boot, number: 0 }
    }
}

/// The errors of a refused request.
pub type Errors = Vec<RpcError>;

/// A configuration that a request names or brings along.
#[derive(Debug, Clone, Copy)]
pub enum Source<'r> {
    /// A datastore.
    Datastore(Datastore),
    /// The `<config>` element.
    Config(&'r Element),
}

/// Parameters of `edit-config`.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'r> {
    /// `default-operation`.
    pub default_operation: DefaultOperation,
    /// `test-option`.
    pub test_option: TestOption,
    /// `error-option`.
    pub error_option: ErrorOption,
    /// The `<config>` element.
    pub config: &'r Element,
}

/// Parameters of `commit`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Until when it must be confirmed, from now; `None` for a commit for good.
    pub confirmed: Option<Duration>,
    /// `persist`.
    pub persist: Option<String>,
    /// `persist-id`.
    pub persist_id: Option<String>,
}

/// A confirmed commit that waits to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    session: SessionId,
    persist: Option<String>,
}

/// A rollback that takes place unless it is prevented.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Timer {
    deadline: Instant,
    /// The session that armed it, and the token of that commit.
    session: SessionId,
    persist: Option<String>,
}

/// What is held, pending or armed in a device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holds {
    /// The token of the pending confirmed commit; an empty text if it has none.
    pub pending: Option<String>,
    /// The tokens of the commits whose rollbacks are armed, the next one first.
    pub armed: Vec<String>,
    /// The number of the session that holds the lock of running.
    pub running_lock: Option<u32>,
    /// The number of the session that holds the lock of the candidate.
    pub candidate_lock: Option<u32>,
    /// Whether the candidate differs from running.
    pub candidate_is_changed: bool,
}

impl Holds {
    /// Whether nothing is held, pending or armed, and the candidate is as running.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The datastores of one device.
#[derive(Debug, Default)]
pub struct Datastores {
    running: Running,
    candidate: Overlay,
    candidate_editor: Option<SessionId>,
    running_lock: Option<SessionId>,
    candidate_lock: Option<SessionId>,
    /// Locks that a session holds which nobody can see.
    phantom_running_lock: Option<u32>,
    phantom_candidate_lock: Option<u32>,
    personality: Personality,
    pending: Option<Pending>,
    /// The rollbacks that are armed, the next one first. With most personalities one if something is pending.
    timers: Vec<Timer>,
    /// What running held before what is pending, of all that changed since.
    backup: Option<Overlay>,
    /// What the device starts with, where that differs from running.
    startup: Overlay,
    startup_lock: Option<SessionId>,
    /// The candidate was edited since it was last committed or discarded.
    candidate_is_edited: bool,
    /// The candidate was validated after the last edit.
    candidate_is_spent: bool,
    last_request: Option<Instant>,
    sessions: BTreeSet<SessionId>,
    state: State,
}

fn protocol_error(tag: ErrorTag, message: impl Into<String>) -> RpcError {
    RpcError::new(ErrorType::Protocol, tag).with_message(message)
}

fn in_use(holder: u32, what: &str) -> Errors {
    vec![protocol_error(ErrorTag::InUse, format!("session {holder} holds the lock of {what}"))]
}

/// A request that the device can't even read: it has no tag, and names the element.
fn syntax_error(element: &str) -> RpcError {
    let info = [Element::base("bad-element").with_text(element)];
    RpcError { error_type: None, ..protocol_error(ErrorTag::OperationFailed, "syntax error").with_info(info) }
}

fn unsupported(what: &str) -> Errors {
    vec![protocol_error(ErrorTag::OperationNotSupported, what)]
}

impl Datastores {
    /// Datastores with this running configuration.
    pub fn new(running: Leaves) -> Self {
        let changes: Vec<Change> =
            running.into_iter().map(|(path, value)| Change { path, old: None, new: Some(value) }).collect();
        let mut datastores = Self::default();
        datastores.running.apply(&changes);
        datastores
    }

    /// The same datastores with another personality.
    #[must_use]
    pub fn with_personality(self, personality: Personality) -> Self {
        Self { personality, ..self }
    }

    /// Changes the personality.
    pub fn set_personality(&mut self, personality: Personality) {
        self.personality = personality;
    }

    /// The personality.
    pub fn personality(&self) -> &Personality {
        &self.personality
    }

    /// Makes changes of running that need no plan, at the start of a device.
    pub(crate) fn restore(&mut self, changes: &[Change]) {
        self.running.apply(changes);
    }

    /// The running configuration.
    pub fn running(&self) -> &Leaves {
        &self.running.leaves
    }

    /// Whether the candidate differs from running.
    pub fn candidate_is_changed(&self) -> bool {
        !self.candidate.is_empty()
    }

    /// Until when the pending confirmed commit must be confirmed, if there is one.
    pub fn confirm_deadline(&self) -> Option<Instant> {
        self.pending.as_ref()?;
        self.timers.first().map(|timer| timer.deadline)
    }

    /// What is held, pending or armed.
    pub fn holds(&self) -> Holds {
        Holds {
            pending: self.pending.as_ref().map(|pending| pending.persist.clone().unwrap_or_default()),
            armed: self.timers.iter().map(|timer| timer.persist.clone().unwrap_or_default()).collect(),
            running_lock: self.running_lock.map(|session| session.number),
            candidate_lock: self.candidate_lock.map(|session| session.number),
            candidate_is_changed: self.candidate_is_changed(),
        }
    }

    /// A request has come.
    pub fn note_request(&mut self, now: Instant) {
        self.last_request = Some(now);
    }

    fn clear_candidate(&mut self) {
        self.candidate.clear();
        self.candidate_is_edited = false;
        self.candidate_is_spent = false;
    }

    /// Whether the candidate counts as changed and not committed.
    fn candidate_is_dirty(&self) -> bool {
        match self.personality.candidate_copy {
            CandidateCopy::FollowsRunning => self.candidate_is_changed(),
            CandidateCopy::Own => self.candidate_is_edited,
        }
    }

    fn view(&self, datastore: Datastore) -> Result<View<'_>, Errors> {
        let overlay = match datastore {
            Datastore::Running => &NOTHING,
            Datastore::Candidate => &self.candidate,
            Datastore::Startup => {
                self.check_startup()?;
                &self.startup
            }
        };
        Ok(View { base: &self.running.leaves, overlay })
    }

    fn check_startup(&self) -> Result<(), Errors> {
        match self.personality.persistence {
            Persistence::Startup => Ok(()),
            _ => Err(unsupported("there is no startup datastore")),
        }
    }

    /// Running becomes what the device starts with.
    pub fn save(&mut self, session: SessionId) -> Result<(), Errors> {
        self.check_lock(session, Datastore::Startup)?;
        self.startup.clear();
        Ok(())
    }

    /// `delete-config` of startup, §7.4: the device starts with an empty configuration.
    pub fn delete_startup(&mut self, session: SessionId) -> Result<(), Errors> {
        self.check_startup()?;
        self.check_lock(session, Datastore::Startup)?;
        self.startup = self.running.leaves.keys().map(|path| (path.clone(), None)).collect();
        Ok(())
    }

    // Sessions and locks.

    /// A session was opened.
    pub fn open_session(&mut self, session: SessionId) {
        self.sessions.insert(session);
    }

    /// Whether a session is open.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.sessions.contains(&session)
    }

    /// A session has ended: its locks are released (§7.5), and with the candidate's lock go the changes
    /// (§8.3.5.3). The transition of [`Datastores::plan_session_end`] is to be applied before.
    pub fn close_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.release_locks(session);
    }

    /// Releases the locks of a session.
    pub fn release_locks(&mut self, session: SessionId) {
        self.running_lock.take_if(|holder| *holder == session);
        self.startup_lock.take_if(|holder| *holder == session);
        let held = self.candidate_lock.take_if(|holder| *holder == session).is_some();
        if held && self.personality.lock_end_discards {
            self.clear_candidate();
        }
    }

    /// Locks held by a session that isn't there, by its number.
    pub fn set_phantom_locks(&mut self, running: Option<u32>, candidate: Option<u32>) {
        self.phantom_running_lock = running;
        self.phantom_candidate_lock = candidate;
    }

    /// The number of the session that holds a lock.
    fn lock_holder(&self, datastore: Datastore) -> Option<u32> {
        let (phantom, holder) = match datastore {
            Datastore::Running => (self.phantom_running_lock, self.running_lock),
            Datastore::Candidate => (self.phantom_candidate_lock, self.candidate_lock),
            Datastore::Startup => (None, self.startup_lock),
        };
        phantom.or(holder.map(|session| session.number))
    }

    /// An error if a session other than this one holds the lock.
    fn check_lock(&self, session: SessionId, datastore: Datastore) -> Result<(), Errors> {
        let (phantom, holder) = match datastore {
            Datastore::Running => (self.phantom_running_lock, self.running_lock),
            Datastore::Candidate => (self.phantom_candidate_lock, self.candidate_lock),
            Datastore::Startup => (None, self.startup_lock),
        };
        match (phantom, holder) {
            (Some(number), _) => Err(in_use(number, datastore.as_str())),
            (None, Some(holder)) if holder != session => Err(in_use(holder.number, datastore.as_str())),
            (None, _) => Ok(()),
        }
    }

    /// The number by which others know a session; 0 for one that has ended.
    fn number_of(&self, session: SessionId) -> u32 {
        if self.is_open(session) { session.number } else { 0 }
    }

    /// `lock`, §7.5.
    pub fn lock(&mut self, session: SessionId, datastore: Datastore) -> Result<(), Errors> {
        let denied = |number| Err(vec![RpcError::lock_denied(number)]);
        match (datastore, self.personality.running_lock) {
            (Datastore::Startup, _) => self.check_startup()?,
            (Datastore::Running, RunningLock::SyntaxError) => return Err(vec![syntax_error("running")]),
            (Datastore::Running, RunningLock::NotSupported) => {
                return Err(unsupported("lock of running isn't supported by this device"));
            }
            _ => {}
        }
        if let Some(holder) = self.lock_holder(datastore) {
            return denied(holder);
        }
        if datastore == Datastore::Startup {
            self.startup_lock = Some(session);
            return Ok(());
        }
        let other = match datastore {
            Datastore::Running => Datastore::Candidate,
            _ => Datastore::Running,
        };
        if self.personality.locks_exclude
            && let Some(holder) = self.lock_holder(other)
        {
            return denied(holder);
        }
        self.check_pending_permits_lock(session, datastore)?;
        if datastore == Datastore::Candidate {
            if self.candidate_is_dirty() {
                return Err(self.dirty_candidate());
            }
            self.candidate_lock = Some(session);
        } else {
            self.running_lock = Some(session);
        }
        Ok(())
    }

    fn check_pending_permits_lock(&self, session: SessionId, datastore: Datastore) -> Result<(), Errors> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let is_denied = match self.personality.lock_while_pending {
            LockWhilePending::DeniesRunningToOthers => pending.session != session,
            LockWhilePending::DeniesRunning => true,
            LockWhilePending::GrantsIfPersistent => pending.persist.is_none(),
            LockWhilePending::Grants => false,
            LockWhilePending::BothInUse => {
                let message = "cannot perform the operation with confirmed-commit pending";
                return Err(vec![
                    protocol_error(ErrorTag::InUse, message).with_app_tag("outstanding-confirmed-commit"),
                ]);
            }
        };
        if is_denied && datastore == Datastore::Running {
            let holder = self.number_of(pending.session);
            let error = RpcError::lock_denied(holder);
            return Err(vec![match self.personality.lock_while_pending {
                LockWhilePending::DeniesRunning => {
                    error.with_message("There is an ongoing confirmed commit.")
                }
                _ => error,
            }]);
        }
        Ok(())
    }

    /// Why the candidate can't be locked.
    fn dirty_candidate(&self) -> Errors {
        let editor = self.candidate_editor.map_or(0, |editor| self.number_of(editor));
        let modified = "candidate datastore data have already been modified";
        match self.personality.dirty_candidate {
            DirtyCandidate::LockDenied => vec![RpcError::lock_denied(editor)],
            DirtyCandidate::LockDeniedByNoSession => {
                vec![RpcError::lock_denied(0).with_message(format!("Operation failed, {modified}"))]
            }
            DirtyCandidate::OperationFailed => [modified, "the lock of candidate failed"]
                .map(|message| {
                    RpcError::new(ErrorType::Application, ErrorTag::OperationFailed).with_message(message)
                })
                .into(),
            DirtyCandidate::ResourceDenied => {
                let message = "candidate cannot be locked, discard-changes needed";
                vec![protocol_error(ErrorTag::ResourceDenied, message)]
            }
        }
    }

    /// `unlock`, §7.6; of the candidate, it discards the changes (§8.3.5.3).
    pub fn unlock(&mut self, session: SessionId, datastore: Datastore) -> Result<(), Errors> {
        let lock = match datastore {
            Datastore::Running => &mut self.running_lock,
            Datastore::Candidate => &mut self.candidate_lock,
            Datastore::Startup => &mut self.startup_lock,
        };
        if lock.take_if(|holder| *holder == session).is_none() {
            let message = format!("this session doesn't hold the lock of {}", datastore.as_str());
            return Err(vec![protocol_error(ErrorTag::OperationFailed, message)]);
        }
        if datastore == Datastore::Candidate && self.personality.lock_end_discards {
            self.clear_candidate();
        }
        Ok(())
    }

    // Reading.

    /// `get-config`, §7.1: the `<data>` element.
    pub fn get_config(&self, source: Datastore, filter: Option<&Element>) -> Result<Element, Errors> {
        self.get_config_as(source, filter, None)
    }

    /// The same, with `with-defaults` of the request.
    pub fn get_config_as(
        &self,
        source: Datastore,
        filter: Option<&Element>,
        mode: Option<WithDefaultsMode>,
    ) -> Result<Element, Errors> {
        Ok(read::read(self.view(source)?, None, Vec::new, filter, self.manner(mode)))
    }

    /// How it answers a request with this `with-defaults`.
    fn manner(&self, mode: Option<WithDefaultsMode>) -> Manner {
        let basic = self.personality.defaults.map_or(WithDefaultsMode::Explicit, |defaults| defaults.basic);
        let defaults = match mode.unwrap_or(basic) {
            WithDefaultsMode::Explicit => Reported::Explicit,
            WithDefaultsMode::ReportAll => Reported::All,
            WithDefaultsMode::ReportAllTagged => {
                Reported::Tagged { equal: basic != WithDefaultsMode::Explicit }
            }
            WithDefaultsMode::Trim => Reported::Trimmed,
        };
        let Personality { spelling, secrets, .. } = self.personality;
        Manner { defaults, spelling, secrets }
    }

    /// `get`, §7.7: the `<data>` element with configuration, state and `others`; `now` is what the device's
    /// clock says.
    pub fn get(
        &self,
        now: Timestamp,
        others: impl FnOnce() -> Vec<Element>,
        filter: Option<&Element>,
    ) -> Element {
        self.get_as(now, others, filter, None)
    }

    /// The same, with `with-defaults` of the request.
    pub fn get_as(
        &self,
        now: Timestamp,
        others: impl FnOnce() -> Vec<Element>,
        filter: Option<&Element>,
        mode: Option<WithDefaultsMode>,
    ) -> Element {
        let view = View::plain(&self.running.leaves);
        read::read(view, Some((&self.state, now)), others, filter, self.manner(mode))
    }

    /// Whether a VRF forwards; `None` if there is none of this name.
    pub fn vrf_is_up(&self, name: &str) -> Option<bool> {
        let operational = Operational { view: View::plain(&self.running.leaves), set: &self.state };
        operational.vrf_is_up(name)
    }

    /// Sets a leaf of state, or with `None` leaves it to the device again.
    ///
    /// # Errors
    /// If there is no such leaf of state or it doesn't take this value.
    pub fn set_state(&mut self, path: Path, value: Option<&str>) -> Result<(), String> {
        let leaf = steps(path.as_bytes()).last().and_then(|step| step.node.leaf());
        let Some(leaf) = leaf.filter(|leaf| !leaf.config) else {
            return Err(format!("{path} is no leaf of state"));
        };
        match value {
            Some(value) => {
                let value = leaf.value.canonical(value).map_err(|reason| format!("{path} {reason}"))?;
                self.state.insert(path, value);
            }
            None => drop(self.state.remove(&path)),
        }
        Ok(())
    }

    // The candidate.

    /// `edit-config` of the candidate, §7.2.
    pub fn edit_candidate(&mut self, session: SessionId, edit: Edit<'_>) -> Result<(), Errors> {
        self.check_lock(session, Datastore::Candidate)?;
        let (changed, errors) = run_edit(&self.running, &mut self.candidate, edit, false, &self.personality);
        if changed {
            self.candidate_editor = Some(session);
            self.candidate_is_edited = true;
            self.candidate_is_spent = false;
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// `copy-config` to the candidate, §7.3.
    pub fn copy_to_candidate(&mut self, session: SessionId, source: Source<'_>) -> Result<(), Errors> {
        match source {
            Source::Datastore(Datastore::Running) => self.discard_changes(session),
            Source::Datastore(Datastore::Candidate) => Err(same_datastore()),
            Source::Datastore(Datastore::Startup) => {
                self.check_startup()?;
                self.discard_changes(session)?;
                self.candidate.clone_from(&self.startup);
                self.candidate_editor = Some(session);
                self.candidate_is_edited = true;
                Ok(())
            }
            Source::Config(config) => self.edit_candidate(session, whole(config)),
        }
    }

    /// `discard-changes`, §8.3.4.2.
    pub fn discard_changes(&mut self, session: SessionId) -> Result<(), Errors> {
        self.check_lock(session, Datastore::Candidate)?;
        self.clear_candidate();
        Ok(())
    }

    /// `validate`, §8.6.4.1.
    pub fn validate(&mut self, source: Source<'_>) -> Result<(), Errors> {
        let errors = match source {
            Source::Datastore(Datastore::Running) => Vec::new(),
            Source::Datastore(Datastore::Candidate) => {
                let errors = validate::candidate(&self.running, &self.candidate, self.personality.edits);
                self.candidate_is_spent = errors.is_empty();
                errors
            }
            Source::Datastore(Datastore::Startup) => self.check_startup().err().unwrap_or_default(),
            Source::Config(config) => {
                let edit = Edit { test_option: TestOption::TestOnly, ..whole(config) };
                run_edit(&self.running, &mut Overlay::new(), edit, true, &self.personality).1
            }
        };
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn same_datastore() -> Errors {
    vec![protocol_error(ErrorTag::InvalidValue, "source and target are the same datastore")]
}

/// The edit that makes a whole configuration of `config`.
fn whole(config: &Element) -> Edit<'_> {
    Edit {
        default_operation: DefaultOperation::Replace,
        test_option: TestOption::Set,
        error_option: ErrorOption::RollbackOnError,
        config,
    }
}

/// Edits `overlay`; the result is whether it was changed, and the errors. With `must_be_valid`, nothing is
/// kept that violates a constraint, whatever `test-option` says.
fn run_edit(
    running: &Running,
    overlay: &mut Overlay,
    edit: Edit<'_>,
    must_be_valid: bool,
    personality: &Personality,
) -> (bool, Errors) {
    let stored = personality.edits == Edits::Stored && !must_be_valid;
    let rules = edit::Rules {
        checks_values: !stored,
        spelling: personality.spelling,
        secrets: personality.secrets,
        deactivation: personality.deactivation,
    };
    let tested = edit.test_option != TestOption::Set && !stored;
    if tested {
        let errors = edit::check(edit.config, rules);
        if !errors.is_empty() {
            return (false, errors);
        }
    }
    let mut draft = Draft::new(&running.leaves, overlay);
    let mut errors = edit::apply(&mut draft, edit.config, edit.default_operation, edit.error_option, rules);
    let mut undo = !errors.is_empty() && edit.error_option == ErrorOption::RollbackOnError;
    if (tested || must_be_valid) && !undo {
        let violations = validate::violations(running, draft.overlay);
        undo = !violations.is_empty();
        errors.extend(violations);
    }
    if undo || edit.test_option == TestOption::TestOnly {
        draft.undo();
        return (false, errors);
    }
    (draft.is_changed(), errors)
}
