//! Personalities: how real NETCONF servers differ from RFC 6241, as plain data.
//!
//! A [`Personality`] is a set of named behaviours. The constants describe servers; a test changes single fields with
//! `Personality { kill_session: Kill::FreesLocks, ..Personality::DEFAULT }`. The datastores and the device consult
//! it, and it never changes what the device keeps. The README of the crate says what each is derived from.

use std::time::Duration;

use turnup_netconf::capability::{BASE_1_0, BASE_1_1, Capabilities};
use turnup_netconf::namespace;
use turnup_netconf::operation::WithDefaultsMode::{self, Explicit, ReportAll, ReportAllTagged, Trim};

use crate::schema;

/// How a device answers and what it does with commits, locks and timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Personality {
    /// Its name, as in `--personality`.
    pub name: &'static str,

    // What the hello offers.
    /// base:1.1 beside base:1.0.
    pub base_1_1: bool,
    /// A candidate datastore.
    pub candidate: bool,
    /// `edit-config` and `copy-config` of running. A device without candidate always has it.
    pub writable_running: bool,
    /// Confirmed commits, and of which version.
    pub confirmed_commit: ConfirmedCommit,
    /// `error-option` `rollback-on-error`. An edit of a device without it may stay in part.
    pub rollback_on_error: bool,
    /// `validate` and `test-option`.
    pub validate: bool,
    /// The hello lists the YANG modules.
    pub lists_modules: bool,
    /// How values equal to their defaults are reported, if the hello says so.
    pub defaults: Option<Defaults>,
    /// Further capabilities of the hello.
    pub further: &'static [&'static str],

    // Locks.
    /// Whether running can be locked.
    pub running_lock: RunningLock,
    /// Whether one session may hold both locks.
    pub locks_exclude: bool,
    /// The answer to `lock` of a candidate with changes.
    pub dirty_candidate: DirtyCandidate,
    /// The answer to `lock` while a confirmed commit is pending.
    pub lock_while_pending: LockWhilePending,
    /// What `kill-session` does to the other session.
    pub kill_session: Kill,
    /// Sessions on which nothing moves for so long end; `None`: those of the simulator.
    pub idle_timeout: Option<Duration>,

    // The candidate.
    /// What the candidate is when running changes under it.
    pub candidate_copy: CandidateCopy,
    /// `unlock` and the end of a session that holds the lock discard the changes.
    pub lock_end_discards: bool,
    /// What `validate` does to the candidate.
    pub validation: Validation,
    /// When values are checked.
    pub edits: Edits,
    /// How values are kept.
    pub spelling: Spelling,

    // Confirmed commits.
    /// Which commits are accepted while a confirmed commit is pending.
    pub commit_while_pending: CommitWhilePending,
    /// The answer to `persist-id` when nothing is pending.
    pub late_persist_id: LatePersistId,
    /// How the timer is extended.
    pub extend: Extend,
    /// The confirming commit publishes what the candidate holds by then.
    pub confirm_takes_candidate: bool,
    /// What a confirmed commit leaves that is refused as invalid.
    pub refused_commit: RefusedCommit,
    /// What the timer does while a session holds the lock of running.
    pub timer_under_lock: UnderLock,
    /// What `cancel-commit` does while its own session holds the lock of running.
    pub cancel_under_lock: UnderLock,
    /// The timer fires only once no request has come for so long.
    pub timer_waits_for_silence: Option<Duration>,
    /// The end of the session takes back a confirmed commit without `persist`.
    pub session_end_reverts: bool,
    /// `confirm-timeout` is rounded up to whole numbers of this.
    pub timeout_unit: Duration,

    // Configuration.
    /// What of running survives when the device starts anew.
    pub persistence: Persistence,
    /// How secrets are kept.
    pub secrets: Secrets,
    /// Nodes can be deactivated (`inactive="inactive"`), and are reported as such.
    pub deactivation: bool,

    // Answers.
    /// How errors look.
    pub errors: ErrorStyle,
    /// Answers with more list entries than this come in parts, each with a `set-id` for `get-next` but the last.
    pub entries_per_reply: Option<usize>,
}

/// How values equal to their defaults are reported (RFC 6243).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// What is done when a request says nothing.
    pub basic: WithDefaultsMode,
    /// What can be asked for besides.
    pub also: &'static [WithDefaultsMode],
}

/// What of running survives when the device starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// All of it.
    Running,
    /// What `copy-config` has put into the startup datastore.
    Startup,
    /// What `save-config` of the module cisco-ia has saved.
    SaveConfig,
}

/// How secrets are kept and shown. A password of type `crypt-hash` is kept as RFC 7317 says, whatever this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As written.
    Kept,
    /// As `$9$` and a text of the device's own.
    Dollar9,
    /// As `7 ` and hexadecimal digits.
    Type7,
    /// As written, and shown as `****`.
    Masked,
    /// As written, and not shown.
    Hidden,
}

/// Version of the capability `confirmed-commit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmedCommit {
    /// None.
    No,
    /// RFC 4741: bound to the session.
    V1_0,
    /// RFC 6241: `persist` and `cancel-commit`.
    V1_1,
}

/// Whether running can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunningLock {
    /// Yes.
    Granted,
    /// The request is a syntax error: no tag, `bad-element` running.
    SyntaxError,
    /// `operation-not-supported`.
    NotSupported,
}

/// The answer to `lock` of a candidate with changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirtyCandidate {
    /// `lock-denied` with the session that made the changes.
    LockDenied,
    /// `lock-denied` with session 0.
    LockDeniedByNoSession,
    /// Two errors `operation-failed` without session.
    OperationFailed,
    /// `resource-denied`.
    ResourceDenied,
}

/// The answer to `lock` while a confirmed commit is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWhilePending {
    /// Running is denied to other sessions than the one that issued the commit (RFC 6241 §7.5).
    DeniesRunningToOthers,
    /// Running is denied to all sessions.
    DeniesRunning,
    /// Both are `in-use` for all sessions.
    BothInUse,
    /// Running is granted if the commit has `persist`, else denied to all sessions.
    GrantsIfPersistent,
    /// Granted.
    Grants,
}

/// What `kill-session` does to the other session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// The session ends.
    EndsSession,
    /// Its locks are free; the session goes on.
    FreesLocks,
}

/// What the candidate is when running changes under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateCopy {
    /// Running with the changes of the candidate.
    FollowsRunning,
    /// A configuration of its own: a rollback leaves the rolled-back change in it, though it counts as unchanged.
    Own,
}

/// What `validate` does to the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Nothing.
    KeepsChanges,
    /// It marks the changes as done: the next commit answers ok and drops them.
    SpendsChanges,
}

/// When the values of an edit are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edits {
    /// At `edit-config`.
    Checked,
    /// At `validate` and `commit`. Names and keys are checked at `edit-config`.
    Stored,
}

/// How values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// In canonical form (RFC 7950 §9.1).
    Canonical,
    /// Numbers in canonical form, texts as written.
    CanonicalNumbers,
    /// As written.
    AsWritten,
}

/// Which commits are accepted while a confirmed commit is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitWhilePending {
    /// Those with its `persist-id`; without `persist`, those of its session.
    Owner,
    /// The same, and every wrong or missing `persist-id` is `invalid-value`.
    OwnerStrict,
    /// The same, and of its session also those without `persist-id`.
    OwnerOrItsSession,
    /// Any commit confirms.
    Any,
    /// Any other commit is carried out and deletes what the rollback needs; the timer stays armed and empties running.
    AnyKeepsTimer,
}

/// The answer to `persist-id` when nothing is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatePersistId {
    /// `invalid-value`.
    InvalidValue,
    /// `operation-failed`.
    OperationFailed,
    /// Ok: the candidate is committed.
    Commits,
}

/// How the timer of a pending confirmed commit is extended by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extend {
    /// With `persist-id`.
    PersistId,
    /// With the same `persist`; `persist-id` is `invalid-value`.
    SamePersist,
    /// With `persist-id`. Without, a second timer is armed beside the first.
    PersistIdOrSecondTimer,
}

/// What a confirmed commit leaves that is refused as invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCommit {
    /// Nothing.
    Forgotten,
    /// Its timer and token, as if it had been accepted.
    StaysArmed,
}

/// What a rollback does while running is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnderLock {
    /// It takes place.
    RollsBack,
    /// It fails, the confirmed commit is forgotten and its change stays for good.
    Forgets,
}

/// How errors look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorStyle {
    /// As in RFC 6241 and RFC 7950.
    Standard,
    /// Without `error-path`.
    NoPath,
    /// Type protocol, tag `operation-failed`, path `[edit …]`, `bad-element`; commits answer `commit-results`.
    Junos,
}

/// The mode as `with-defaults` names it.
pub(crate) fn mode_name(mode: WithDefaultsMode) -> &'static str {
    match mode {
        ReportAll => "report-all",
        ReportAllTagged => "report-all-tagged",
        Trim => "trim",
        Explicit => "explicit",
    }
}

impl Defaults {
    /// Whether a request may ask for this mode.
    pub(crate) fn takes(&self, mode: WithDefaultsMode) -> bool {
        mode == self.basic || self.also.contains(&mode)
    }
}

impl Default for Personality {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Personality {
    /// RFC 6241 by the letter.
    pub const DEFAULT: Self = Self {
        name: "default",
        base_1_1: true,
        candidate: true,
        writable_running: false,
        confirmed_commit: ConfirmedCommit::V1_1,
        rollback_on_error: true,
        validate: true,
        lists_modules: true,
        defaults: None,
        further: &[],
        running_lock: RunningLock::Granted,
        locks_exclude: false,
        dirty_candidate: DirtyCandidate::LockDenied,
        lock_while_pending: LockWhilePending::DeniesRunningToOthers,
        kill_session: Kill::EndsSession,
        idle_timeout: None,
        candidate_copy: CandidateCopy::FollowsRunning,
        lock_end_discards: true,
        validation: Validation::KeepsChanges,
        edits: Edits::Checked,
        spelling: Spelling::Canonical,
        commit_while_pending: CommitWhilePending::Owner,
        late_persist_id: LatePersistId::InvalidValue,
        extend: Extend::PersistId,
        confirm_takes_candidate: true,
        refused_commit: RefusedCommit::Forgotten,
        timer_under_lock: UnderLock::RollsBack,
        cancel_under_lock: UnderLock::RollsBack,
        timer_waits_for_silence: None,
        session_end_reverts: true,
        timeout_unit: Duration::from_secs(1),
        persistence: Persistence::Running,
        secrets: Secrets::Kept,
        deactivation: false,
        errors: ErrorStyle::Standard,
        entries_per_reply: None,
    };

    /// netopeer2 with sysrepo.
    pub const NETOPEER2: Self = Self {
        name: "netopeer2",
        defaults: Some(Defaults { basic: Explicit, also: &[ReportAll, ReportAllTagged, Trim] }),
        persistence: Persistence::Startup,
        writable_running: true,
        dirty_candidate: DirtyCandidate::OperationFailed,
        lock_while_pending: LockWhilePending::DeniesRunning,
        idle_timeout: Some(Duration::from_secs(180)),
        commit_while_pending: CommitWhilePending::OwnerStrict,
        extend: Extend::SamePersist,
        refused_commit: RefusedCommit::StaysArmed,
        timer_under_lock: UnderLock::Forgets,
        ..Self::DEFAULT
    };

    /// Clixon.
    pub const CLIXON: Self = Self {
        name: "clixon",
        defaults: Some(Defaults { basic: Explicit, also: &[ReportAll, ReportAllTagged, Trim] }),
        persistence: Persistence::Startup,
        rollback_on_error: false,
        lists_modules: false,
        dirty_candidate: DirtyCandidate::LockDeniedByNoSession,
        lock_while_pending: LockWhilePending::GrantsIfPersistent,
        kill_session: Kill::FreesLocks,
        candidate_copy: CandidateCopy::Own,
        lock_end_discards: false,
        edits: Edits::Stored,
        spelling: Spelling::AsWritten,
        commit_while_pending: CommitWhilePending::AnyKeepsTimer,
        late_persist_id: LatePersistId::Commits,
        extend: Extend::PersistIdOrSecondTimer,
        confirm_takes_candidate: false,
        refused_commit: RefusedCommit::StaysArmed,
        errors: ErrorStyle::NoPath,
        ..Self::DEFAULT
    };

    /// netconfd of yuma123.
    pub const YUMA: Self = Self {
        name: "yuma",
        defaults: Some(Defaults { basic: Explicit, also: &[Trim, ReportAll, ReportAllTagged] }),
        dirty_candidate: DirtyCandidate::ResourceDenied,
        lock_while_pending: LockWhilePending::BothInUse,
        validation: Validation::SpendsChanges,
        spelling: Spelling::CanonicalNumbers,
        commit_while_pending: CommitWhilePending::OwnerOrItsSession,
        late_persist_id: LatePersistId::OperationFailed,
        timer_under_lock: UnderLock::Forgets,
        cancel_under_lock: UnderLock::Forgets,
        timer_waits_for_silence: Some(Duration::from_secs(1)),
        ..Self::DEFAULT
    };

    /// Junos.
    pub const JUNOS: Self = Self {
        name: "junos",
        base_1_1: false,
        confirmed_commit: ConfirmedCommit::V1_0,
        rollback_on_error: false,
        running_lock: RunningLock::SyntaxError,
        lock_while_pending: LockWhilePending::Grants,
        commit_while_pending: CommitWhilePending::Any,
        session_end_reverts: false,
        timeout_unit: Duration::from_secs(60),
        secrets: Secrets::Dollar9,
        deactivation: true,
        errors: ErrorStyle::Junos,
        further: &[
            "urn:ietf:params:xml:ns:netconf:base:1.0",
            "urn:ietf:params:xml:ns:netconf:capability:candidate:1.0",
            "urn:ietf:params:xml:ns:netconf:capability:confirmed-commit:1.0",
            "http://xml.juniper.net/netconf/junos/1.0",
        ],
        ..Self::DEFAULT
    };

    /// Nokia SR OS.
    pub const NOKIA_SROS: Self =
        Self { name: "nokia-sros", writable_running: true, locks_exclude: true, ..Self::DEFAULT };

    /// Huawei VRP.
    pub const HUAWEI_VRP: Self = Self {
        name: "huawei-vrp",
        writable_running: true,
        defaults: Some(Defaults { basic: ReportAll, also: &[ReportAllTagged, Trim] }),
        persistence: Persistence::Startup,
        further: &[
            "urn:ietf:params:netconf:capability:confirmed-commit:1.0",
            "http://www.huawei.com/netconf/capability/exchange/1.0",
            "http://www.huawei.com/netconf/capability/exchange/1.2",
        ],
        entries_per_reply: Some(32),
        ..Self::DEFAULT
    };

    /// Cisco IOS XR.
    pub const IOSXR: Self = Self { name: "iosxr", running_lock: RunningLock::NotSupported, ..Self::DEFAULT };

    /// Cisco IOS XE with its candidate datastore.
    pub const IOSXE: Self = Self {
        name: "iosxe",
        defaults: Some(Defaults { basic: Explicit, also: &[ReportAllTagged, ReportAll] }),
        persistence: Persistence::SaveConfig,
        secrets: Secrets::Type7,
        further: &["http://cisco.com/yang/cisco-ia?module=cisco-ia&revision=2023-11-01"],
        ..Self::DEFAULT
    };

    /// A device that does not report values equal to their defaults.
    pub const TRIM: Self = Self {
        name: "trim",
        defaults: Some(Defaults { basic: Trim, also: &[Explicit, ReportAll, ReportAllTagged] }),
        ..Self::DEFAULT
    };

    /// All that have a name.
    pub const ALL: [Self; 10] = [
        Self::DEFAULT,
        Self::NETOPEER2,
        Self::CLIXON,
        Self::YUMA,
        Self::JUNOS,
        Self::NOKIA_SROS,
        Self::HUAWEI_VRP,
        Self::IOSXR,
        Self::IOSXE,
        Self::TRIM,
    ];

    /// The personality of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|personality| personality.name == name)
    }

    /// The names, with commas.
    pub fn names() -> String {
        Self::ALL.map(|personality| personality.name).join(", ")
    }

    /// The capabilities of its hello.
    pub fn capabilities(&self) -> Capabilities {
        let standard = |name: &str| format!("urn:ietf:params:netconf:capability:{name}");
        let mut uris = vec![BASE_1_0.to_owned()];
        uris.extend(self.base_1_1.then(|| BASE_1_1.to_owned()));
        let offers = [
            (self.candidate, "candidate:1.0"),
            (self.confirmed_commit == ConfirmedCommit::V1_1, "confirmed-commit:1.1"),
            (self.confirmed_commit == ConfirmedCommit::V1_0, "confirmed-commit:1.0"),
            (self.writable_running || !self.candidate, "writable-running:1.0"),
            (self.rollback_on_error, "rollback-on-error:1.0"),
            (self.validate, if self.base_1_1 { "validate:1.1" } else { "validate:1.0" }),
            (self.persistence == Persistence::Startup, "startup:1.0"),
        ];
        uris.extend(offers.iter().filter(|(offered, _)| *offered).map(|(_, name)| standard(name)));
        if let Some(Defaults { basic, also }) = self.defaults {
            let also: Vec<&str> = also.iter().copied().map(mode_name).collect();
            let parameters = format!("basic-mode={}&also-supported={}", mode_name(basic), also.join(","));
            uris.push(format!("{}?{parameters}", standard("with-defaults:1.0")));
        }
        uris.extend(self.further.iter().map(|uri| (*uri).to_owned()));
        uris.push(namespace::MONITORING.to_owned());
        if self.lists_modules {
            uris.push(format!(
                "{}?module={}&revision={}",
                schema::NAMESPACE,
                schema::MODULE,
                schema::REVISION
            ));
        }
        Capabilities::new(uris)
    }

    /// `confirm-timeout` as the device keeps it.
    pub(crate) fn timeout(&self, asked: Duration) -> Duration {
        let unit = self.timeout_unit.as_secs().max(1);
        Duration::from_secs(asked.as_secs().div_ceil(unit).saturating_mul(unit))
    }
}
