//! The platform profile that follows from an exam, and what of the profile in use is wrong for the device.

use serde::Serialize;

use super::{Answer, Findings, Probe};
use crate::{
    failure::FailureClass,
    profile::{
        CancelOrder, ConfirmedCommitUse, Locks, Profile, Startup, WithDefaults,
        error_rule::{ErrorRule, PHASES},
    },
};

/// A key of a profile that an exam has determined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its name in the file.
    pub key: &'static str,
    /// Its value as TOML.
    pub value: String,
    /// The probes from which it follows.
    pub probes: Vec<Probe>,
    /// Why, in a sentence.
    pub why: String,
}

/// A profile made from findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The profile. Keys that were not found out have their defaults.
    pub profile: Profile,
    /// The keys that were found out, in the order of the documentation.
    pub keys: Vec<Key>,
}

/// A key of the profile in use that is wrong for the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// Its value in the profile in use.
    pub in_use: String,
    /// What the exam found.
    pub found: String,
    /// The probes that show it.
    pub probes: Vec<Probe>,
    /// Why.
    pub why: String,
}

/// Errors that must mean a certain class: the probe and the class.
const EXPECTED: [(Probe, FailureClass); 8] = [
    (Probe::LockRunningOther, FailureClass::Busy),
    (Probe::LockCandidateOther, FailureClass::Busy),
    (Probe::DirtyLockOther, FailureClass::Busy),
    (Probe::CreateExisting, FailureClass::Invalid),
    (Probe::DeleteMissing, FailureClass::Invalid),
    (Probe::ErrorUnknownElement, FailureClass::Invalid),
    (Probe::ErrorBadValue, FailureClass::Invalid),
    (Probe::ErrorMissingKey, FailureClass::Invalid),
];

/// Collects keys.
struct Maker<'f> {
    findings: &'f Findings,
    derived: Derived,
}

/// The profile that follows from what was found.
#[must_use]
pub fn profile_of(findings: &Findings) -> Derived {
    let derived = Derived { profile: Profile::default(), keys: Vec::new() };
    let mut maker = Maker { findings, derived };
    maker.locks();
    maker.cancel();
    maker.confirmed_commit();
    maker.timer_unit();
    maker.with_defaults();
    maker.discard();
    maker.startup();
    maker.settle();
    maker.ssh();
    maker.error_rules();
    maker.derived
}

impl Maker<'_> {
    fn key(&mut self, key: &'static str, value: String, probes: &[Probe], why: impl Into<String>) {
        self.derived.keys.push(Key { key, value, probes: probes.to_vec(), why: why.into() });
    }

    /// The first of these probes whose answer is no.
    fn first_no(&self, probes: &[Probe]) -> Option<Probe> {
        probes.iter().copied().find(|probe| self.findings.is(*probe) == Some(false))
    }

    fn locks(&mut self) {
        let reasons = [Probe::LockRunning, Probe::LockBoth, Probe::TimerLockRunning];
        let why = match self.first_no(&reasons) {
            Some(Probe::LockRunning) => "running can't be locked",
            Some(Probe::LockBoth) => "the locks of running and candidate exclude each other",
            Some(_) => "the timer does not roll back while running is locked, and the change stays",
            None if self.findings.is(Probe::LockBoth) == Some(true) => {
                let why = match self.findings.is(Probe::TimerLockRunning) {
                    Some(_) => "both locks are granted, and the timer rolls back under them",
                    None => {
                        "both locks are granted; whether the timer rolls back under them was not found out"
                    }
                };
                self.key("locks", text(Locks::RunningAndCandidate), &reasons, why);
                return;
            }
            None => return,
        };
        self.derived.profile.locks = Locks::Candidate;
        self.key("locks", text(Locks::Candidate), &reasons, why);
    }

    fn cancel(&mut self) {
        let probes = [Probe::CancelUnlocked, Probe::CancelLocked];
        let (unlocked, locked) =
            (self.findings.is(Probe::CancelUnlocked), self.findings.is(Probe::CancelLocked));
        let (order, why) = match (unlocked, locked) {
            (Some(true), Some(false)) => {
                (CancelOrder::AfterUnlock, "it changes nothing while running is locked")
            }
            (Some(true), _) => {
                (CancelOrder::AfterUnlock, "it takes the change back once running is unlocked")
            }
            (Some(false), Some(true)) => {
                (CancelOrder::UnderLock, "it takes the change back only while running is locked")
            }
            _ => return,
        };
        self.derived.profile.cancel = order;
        self.key("cancel", text(order), &probes, why);
    }

    fn confirmed_commit(&mut self) {
        let (used, why) = match self.findings.is(Probe::TimerRollsBack) {
            Some(true) => (ConfirmedCommitUse::AsOffered, "the timer rolls back"),
            Some(false) => {
                (ConfirmedCommitUse::Never, "the timer does not roll back: the commit is for good")
            }
            None => return,
        };
        self.derived.profile.confirmed_commit = used;
        self.key("confirmed_commit", text(used), &[Probe::TimerRollsBack], why);
    }

    fn timer_unit(&mut self) {
        let Some(unit) = self.findings.number(Probe::TimerUnit).and_then(|unit| u32::try_from(unit).ok())
        else {
            return;
        };
        let step = if unit > 1 { unit } else { 0 };
        self.derived.profile.confirm_timeout_step_s = step;
        let why = match step {
            0 => "a timer of 1 s is kept".to_owned(),
            _ => format!("a timer of 1 s fires after {unit} s"),
        };
        self.key("confirm_timeout_step_s", step.to_string(), &[Probe::TimerUnit], why);
    }

    fn with_defaults(&mut self) {
        let modes = [
            (Probe::DefaultsExplicit, WithDefaults::Explicit),
            (Probe::DefaultsTagged, WithDefaults::ReportAllTagged),
            (Probe::DefaultsReportAll, WithDefaults::ReportAll),
            (Probe::DefaultsTrim, WithDefaults::Trim),
        ];
        let tried: Vec<(Probe, WithDefaults, bool)> = modes
            .into_iter()
            .filter_map(|(probe, mode)| Some((probe, mode, self.findings.is(probe)?)))
            .collect();
        let probes: Vec<Probe> = tried.iter().map(|(probe, ..)| *probe).collect();
        let (mode, why) = match tried.first() {
            None => return,
            Some((_, mode, true)) => {
                (WithDefaults::AsOffered, format!("{mode}, the best that is offered, works"))
            }
            Some(_) => match tried.iter().find(|(_, _, works)| *works) {
                Some((_, mode, _)) => (*mode, "of the offered modes the best that works".to_owned()),
                None => (WithDefaults::NotAsked, "none of the offered modes works".to_owned()),
            },
        };
        self.derived.profile.with_defaults = mode;
        self.key("with_defaults", text(mode), &probes, why);
    }

    fn discard(&mut self) {
        let probes = [Probe::CandidateAfterCancel, Probe::CandidateAfterTimer];
        let answers = probes.map(|probe| self.findings.is(probe));
        let (discards, why) = match answers {
            _ if answers.contains(&Some(false)) => (true, "the candidate keeps what was taken back"),
            [None, None] => return,
            _ => (false, "the candidate loses what was taken back"),
        };
        self.derived.profile.discard_before_edit = discards;
        self.key("discard_before_edit", discards.to_string(), &probes, why);
    }

    fn startup(&mut self) {
        let probes = [Probe::Startup, Probe::SaveRpc];
        match (self.findings.is(Probe::Startup), self.findings.text(Probe::SaveRpc)) {
            (Some(false), Some(rpc)) => {
                self.derived.profile.startup = Startup::Rpc;
                rpc.clone_into(&mut self.derived.profile.save_rpc);
                let value = format!("'{rpc}'");
                self.key(
                    "startup",
                    text(Startup::Rpc),
                    &probes,
                    "there is no :startup, and an RPC that saves",
                );
                self.key("save_rpc", value, &[Probe::SaveRpc], "an operation of the device's own modules");
            }
            (Some(true), _) => {
                let why = "copy-config to startup, as the hello offers it";
                self.key("startup", text(Startup::AsOffered), &probes, why);
            }
            (Some(false), None) => {
                let why =
                    "no :startup and no known RPC that saves: running is taken to be kept over a reboot";
                self.key("startup", text(Startup::AsOffered), &probes, why);
            }
            (None, _) => {}
        }
    }

    fn settle(&mut self) {
        let Some(settle) = self.findings.number(Probe::FirstRequest) else { return };
        self.derived.profile.settle_ms = settle;
        let why = match settle {
            0 => "requests right after hello were answered",
            _ => "requests that come earlier are lost",
        };
        self.key("settle_ms", settle.to_string(), &[Probe::FirstRequest], why);
    }

    fn ssh(&mut self) {
        let Some(weak) = self.findings.list(Probe::SshWeak) else { return };
        self.derived.profile.ssh_algorithms = weak.to_vec();
        let why = match weak.is_empty() {
            true => "the default algorithms suffice",
            false => "there is no connection without these",
        };
        let value = toml::Value::from(weak.to_vec()).to_string();
        self.key("ssh_algorithms", value, &[Probe::SshWeak], why);
    }

    fn error_rules(&mut self) {
        let mut rules: Vec<(Probe, ErrorRule)> = Vec::new();
        for (probe, class) in EXPECTED {
            let Some(shape) = self.findings.refusal(probe) else { continue };
            if shape.class_by(&[]) == Some(class) || !PHASES.contains(&shape.phase.as_str()) {
                continue;
            }
            let rule = ErrorRule {
                phase: Some(shape.phase.clone()),
                error_tag: Some(shape.tag.clone()),
                error_app_tag: shape.app_tag.clone(),
                path_starts_with: None,
                path_contains: None,
                // Without it a general tag would mean everything.
                message_contains: shape.message.as_deref().map(beginning).filter(|_| shape.app_tag.is_none()),
                bad_element: None,
                class,
            };
            if !rules.iter().any(|(_, known)| *known == rule) {
                rules.push((probe, rule));
            }
        }
        if rules.is_empty() {
            return;
        }
        let probes: Vec<Probe> = rules.iter().map(|(probe, _)| *probe).collect();
        self.derived.profile.error_rules = rules.into_iter().map(|(_, rule)| rule).collect();
        let value = format!("{} rules", probes.len());
        self.key(
            "error_rules",
            value,
            &probes,
            "turnup's general rules would take these errors for something else",
        );
    }
}

/// The first words of a message, without what is between quotes or looks like a number: those change.
fn beginning(message: &str) -> String {
    let words = message
        .split_whitespace()
        .take_while(|word| !word.contains(['\'', '"', '/']) && !word.chars().any(|c| c.is_ascii_digit()));
    let text: Vec<&str> = words.take(6).collect();
    match text.is_empty() {
        true => message.chars().take(40).collect(),
        false => text.join(" "),
    }
}

/// A word as TOML.
fn text(word: impl std::fmt::Display) -> String {
    format!("\"{word}\"")
}

/// What of `in_use` is wrong for the device. A profile may be more careful than the device needs: a longer pause after
/// hello, the candidate's lock alone, or discarding where that is not needed are no differences.
#[must_use]
pub fn differences(in_use: &Profile, findings: &Findings) -> Vec<Difference> {
    let derived = profile_of(findings);
    let found = &derived.profile;
    let rules = &in_use.error_rules;
    let is_wrong = |key: &str| match key {
        "locks" => in_use.locks == Locks::RunningAndCandidate && found.locks == Locks::Candidate,
        "cancel" => {
            let works = match in_use.cancel {
                CancelOrder::AfterUnlock => findings.is(Probe::CancelUnlocked),
                CancelOrder::UnderLock => findings.is(Probe::CancelLocked),
            };
            works == Some(false) && in_use.cancel != found.cancel
        }
        "confirmed_commit" => {
            in_use.confirmed_commit == ConfirmedCommitUse::AsOffered
                && found.confirmed_commit == ConfirmedCommitUse::Never
        }
        "confirm_timeout_step_s" => {
            !in_use.confirm_timeout_step_s.max(1).is_multiple_of(found.confirm_timeout_step_s.max(1))
        }
        "with_defaults" => !defaults_work(in_use.with_defaults, found.with_defaults, findings),
        "discard_before_edit" => found.discard_before_edit && !in_use.discard_before_edit,
        "startup" => {
            in_use.startup != found.startup
                && (in_use.startup == Startup::Rpc || found.startup == Startup::Rpc)
        }
        "save_rpc" => in_use.startup == Startup::Rpc && in_use.save_rpc.trim() != found.save_rpc,
        "settle_ms" => in_use.settle_ms < found.settle_ms,
        "ssh_algorithms" => found.ssh_algorithms.iter().any(|name| !in_use.ssh_algorithms.contains(name)),
        "error_rules" => EXPECTED.iter().any(|(probe, class)| {
            findings.refusal(*probe).is_some_and(|shape| shape.class_by(rules) != Some(*class))
        }),
        _ => false,
    };
    let wrong = derived.keys.iter().filter(|key| is_wrong(key.key));
    wrong
        .map(|key| Difference {
            key: key.key,
            in_use: value_in(in_use, key.key),
            found: key.value.clone(),
            probes: key.probes.clone(),
            why: key.why.clone(),
        })
        .collect()
}

/// Whether reads by the mode in use show what they should.
fn defaults_work(in_use: WithDefaults, found: WithDefaults, findings: &Findings) -> bool {
    let probe = match in_use {
        WithDefaults::AsOffered => return found == WithDefaults::AsOffered,
        WithDefaults::NotAsked => return true,
        WithDefaults::Explicit => Probe::DefaultsExplicit,
        WithDefaults::ReportAllTagged => Probe::DefaultsTagged,
        WithDefaults::ReportAll => Probe::DefaultsReportAll,
        WithDefaults::Trim => Probe::DefaultsTrim,
    };
    // A mode that is not offered was not tried, and is refused.
    findings.is(probe) == Some(true)
}

fn value_in(profile: &Profile, key: &str) -> String {
    match key {
        "locks" => text(profile.locks),
        "cancel" => text(profile.cancel),
        "confirmed_commit" => text(profile.confirmed_commit),
        "confirm_timeout_step_s" => profile.confirm_timeout_step_s.to_string(),
        "with_defaults" => text(profile.with_defaults),
        "discard_before_edit" => profile.discard_before_edit.to_string(),
        "startup" => text(profile.startup),
        "save_rpc" => format!("'{}'", profile.save_rpc.trim()),
        "settle_ms" => profile.settle_ms.to_string(),
        "ssh_algorithms" => toml::Value::from(profile.ssh_algorithms.clone()).to_string(),
        _ => format!("{} rules", profile.error_rules.len()),
    }
}

/// The profile as a file (TOML), with the probes that gave each key. `title` and `tried_on`: for people.
#[must_use]
pub fn to_toml(derived: &Derived, title: &str, tried_on: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut out = format!("title = {}\ntried_on = {}\n", quoted(title), quoted(tried_on));
    for key in derived.keys.iter().filter(|key| key.key != "error_rules") {
        let probes: Vec<&str> = key.probes.iter().map(|probe| probe.word()).collect();
        out.push_str(&format!("# {} ({})\n{} = {}\n", key.why, probes.join(", "), key.key, key.value));
    }
    let known: Vec<&str> = derived.keys.iter().map(|key| key.key).collect();
    let unknown: Vec<&str> = DETERMINED.iter().copied().filter(|key| !known.contains(key)).collect();
    if !unknown.is_empty() {
        out.push_str(&format!("# Not found out, so left at its default: {}\n", unknown.join(", ")));
    }
    if let Some(key) = derived.keys.iter().find(|key| key.key == "error_rules") {
        for (rule, probe) in derived.profile.error_rules.iter().zip(&key.probes) {
            out.push_str(&format!("\n# {} ({probe})\n[[error_rules]]\n", key.why));
            // Serializing a table of texts does not fail.
            out.push_str(&toml::to_string(rule).unwrap_or_default());
        }
    }
    out
}

/// The keys that every exam tries to find out.
const DETERMINED: [&str; 9] = [
    "locks",
    "cancel",
    "confirmed_commit",
    "confirm_timeout_step_s",
    "with_defaults",
    "discard_before_edit",
    "startup",
    "settle_ms",
    "ssh_algorithms",
];

/// Whether an answer tells anything.
#[must_use]
pub fn is_found(answer: &Answer) -> bool {
    !matches!(answer, Answer::NotTried(_) | Answer::Unknown(_))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ErrorShape, Finding},
        *,
    };

    fn findings(answers: &[(Probe, Answer)]) -> Findings {
        let finding = |(probe, answer): &(Probe, Answer)| Finding {
            probe: *probe,
            answer: answer.clone(),
            remark: None,
        };
        Findings::new(&answers.iter().map(finding).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_found_gives_the_default_and_no_difference() {
        let derived = profile_of(&Findings::default());
        assert_eq!((derived.profile.is_default(), derived.keys), (true, vec![]));
        assert_eq!(differences(&Profile::default(), &Findings::default()), []);
    }

    #[test]
    fn locks_follow_from_the_first_reason_against_running() {
        let locks = |answers: &[(Probe, Answer)]| profile_of(&findings(answers)).profile.locks;
        let yes = |probe| (probe, Answer::Yes);
        let no = |probe| (probe, Answer::No);
        assert_eq!(locks(&[yes(Probe::LockBoth), yes(Probe::TimerLockRunning)]), Locks::RunningAndCandidate);
        for reason in [Probe::LockRunning, Probe::LockBoth, Probe::TimerLockRunning] {
            assert_eq!(locks(&[no(reason)]), Locks::Candidate, "{reason}");
        }
        let under_lock = findings(&[no(Probe::TimerLockRunning)]);
        assert_eq!(differences(&Profile::default(), &under_lock)[0].key, "locks");
        let careful = Profile { locks: Locks::Candidate, ..Profile::default() };
        assert_eq!(differences(&careful, &findings(&[yes(Probe::LockBoth)])), []);
    }

    #[test]
    fn timer_unit_is_wrong_only_if_it_is_no_multiple() {
        let minutes = findings(&[(Probe::TimerUnit, Answer::Number(60))]);
        let of = |step| Profile { confirm_timeout_step_s: step, ..Profile::default() };
        assert_eq!(differences(&of(0), &minutes)[0].found, "60");
        assert_eq!(differences(&of(60), &minutes), []);
        assert_eq!(differences(&of(120), &minutes), []);
        assert_eq!(differences(&of(60), &findings(&[(Probe::TimerUnit, Answer::Number(1))])), []);
    }

    #[test]
    fn best_working_defaults_mode_is_chosen() {
        let yes = |probe| (probe, Answer::Yes);
        let no = |probe| (probe, Answer::No);
        let of = |answers: &[(Probe, Answer)]| profile_of(&findings(answers)).profile.with_defaults;
        assert_eq!(of(&[yes(Probe::DefaultsExplicit), yes(Probe::DefaultsTrim)]), WithDefaults::AsOffered);
        assert_eq!(of(&[no(Probe::DefaultsExplicit), yes(Probe::DefaultsTrim)]), WithDefaults::Trim);
        assert_eq!(of(&[no(Probe::DefaultsExplicit)]), WithDefaults::NotAsked);
        let fixed = Profile { with_defaults: WithDefaults::Explicit, ..Profile::default() };
        let tagged_only = findings(&[yes(Probe::DefaultsTagged)]);
        assert_eq!(differences(&fixed, &tagged_only)[0].key, "with_defaults");
    }

    #[test]
    fn error_that_would_be_misread_becomes_a_rule_that_reads_it() {
        let shape = ErrorShape {
            phase: "lock".to_owned(),
            tag: "operation-failed".to_owned(),
            message: Some("database in session 17".to_owned()),
            class: Some(FailureClass::BrokenPeer),
            errors: 1,
            ..ErrorShape::default()
        };
        let findings = findings(&[(Probe::DirtyLockOther, Answer::Refused(shape.clone()))]);
        let derived = profile_of(&findings);
        assert_eq!(derived.profile.error_rules[0].message_contains.as_deref(), Some("database in session"));
        assert_eq!(shape.class_by(&derived.profile.error_rules), Some(FailureClass::Busy));
        assert_eq!(differences(&Profile::default(), &findings)[0].key, "error_rules");
        assert_eq!(differences(&derived.profile, &findings), []);
        let text = to_toml(&derived, "x", "y");
        assert_eq!(Profile::parse(&text).unwrap().error_rules, derived.profile.error_rules, "{text}");
    }

    #[test]
    fn written_profile_reads_back_as_it_was_derived() {
        let derived = profile_of(&findings(&[
            (Probe::LockRunning, Answer::No),
            (Probe::CancelUnlocked, Answer::Yes),
            (Probe::TimerRollsBack, Answer::Yes),
            (Probe::TimerUnit, Answer::Number(60)),
            (Probe::CandidateAfterCancel, Answer::No),
            (Probe::Startup, Answer::No),
            (Probe::SaveRpc, Answer::Text("<save-config xmlns=\"urn:c\"/>".to_owned())),
            (Probe::FirstRequest, Answer::Number(20)),
            (Probe::SshWeak, Answer::List(vec!["ssh-rsa".to_owned()])),
        ]));
        let text = to_toml(&derived, "ACME \"edge\"", "one device");
        let read = Profile::parse(&text).unwrap();
        let people =
            Profile { title: read.title.clone(), tried_on: read.tried_on.clone(), ..derived.profile };
        assert_eq!(read, people, "{text}");
        assert!(
            text.contains("# running can't be locked (lock-running, lock-both, timer-lock-running)"),
            "{text}"
        );
        assert!(text.contains("left at its default: with_defaults"), "{text}");
    }
}
