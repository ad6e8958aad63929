//! Platform profiles: how a device of a platform is changed, where its server differs from RFC 6241 or from others.
//!
//! A profile travels with the work for a device ([`crate::message::DeviceWork`]), so workers need no files. Shipped
//! profiles are `config/platforms/*.toml`; a file of the same name in the operator's folder replaces one of them.
//! Defaults describe a server that follows RFC 6241. [`Profile::parse`] reads a file.

pub mod error_rule;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use self::error_rule::ErrorRule;
use crate::{exam::scratch::Scratch, name::PlatformName, words::words};

/// Largest profile file in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Longest pause between hello and first request, in milliseconds.
const MAX_SETTLE_MS: u64 = 5_000;
/// Largest step of the confirm timer, in seconds.
const MAX_CONFIRM_STEP_S: u32 = 600;
/// Most rules for errors.
const MAX_ERROR_RULES: usize = 100;
/// Most SSH algorithms beyond the default.
const MAX_SSH_ALGORITHMS: usize = 16;

/// SSH algorithms that a profile may allow.
pub const WEAK_SSH_ALGORITHMS: [&str; 7] = [
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group-exchange-sha1",
    "ssh-rsa",
    "hmac-sha1",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
];

/// The shipped profiles: platform and file text.
const SHIPPED: [(&str, &str); 11] = [
    ("arista-eos", include_str!("../../../config/platforms/arista-eos.toml")),
    ("clixon", include_str!("../../../config/platforms/clixon.toml")),
    ("huawei-vrp", include_str!("../../../config/platforms/huawei-vrp.toml")),
    ("ietf", include_str!("../../../config/platforms/ietf.toml")),
    ("iosxe", include_str!("../../../config/platforms/iosxe.toml")),
    ("iosxr", include_str!("../../../config/platforms/iosxr.toml")),
    ("junos", include_str!("../../../config/platforms/junos.toml")),
    ("netopeer2", include_str!("../../../config/platforms/netopeer2.toml")),
    ("nokia-sros", include_str!("../../../config/platforms/nokia-sros.toml")),
    ("sim", include_str!("../../../config/platforms/sim.toml")),
    ("yuma", include_str!("../../../config/platforms/yuma.toml")),
];

/// Platforms with a shipped profile.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

words!(
    /// Which datastores are locked before a candidate is edited (RFC 6241 §7.5, §8.3.5.2).
    #[derive(Default)]
    Locks, "choice of locks" {
        /// Running, then the candidate. Where only the candidate can be locked, that one.
        #[default]
        RunningAndCandidate = "running_and_candidate" / "running and candidate",
        /// The candidate alone.
        Candidate = "candidate" / "candidate",
    }
);

words!(
    /// When a pending commit is cancelled (RFC 6241 §8.4.4.1), seen from the lock of running.
    #[derive(Default)]
    CancelOrder, "order of cancel-commit and unlock" {
        /// Running is unlocked first: servers exist whose `cancel-commit` answers ok and changes nothing under it.
        #[default]
        AfterUnlock = "after_unlock" / "after unlock of running",
        /// Before running is unlocked.
        UnderLock = "under_lock" / "under the lock of running",
    }
);

words!(
    /// Whether confirmed commits are used (RFC 6241 §8.4).
    #[derive(Default)]
    ConfirmedCommitUse, "use of confirmed commits" {
        /// Where the hello offers them.
        #[default]
        AsOffered = "as_offered" / "as offered",
        /// Never: the device offers them and does not roll back.
        Never = "never" / "never",
    }
);

words!(
    /// Which with-defaults mode reads ask for (RFC 6243 §4.5).
    #[derive(Default)]
    WithDefaults, "with-defaults mode" {
        /// The best that the hello offers: explicit, report-all-tagged, report-all, trim, in this order.
        #[default]
        AsOffered = "as_offered" / "as offered",
        /// None is asked for: the device answers in its basic mode.
        NotAsked = "not_asked" / "not asked",
        /// `explicit`.
        Explicit = "explicit" / "explicit",
        /// `report-all-tagged`.
        ReportAllTagged = "report-all-tagged" / "report-all-tagged",
        /// `report-all`.
        ReportAll = "report-all" / "report-all",
        /// `trim`.
        Trim = "trim" / "trim",
    }
);

words!(
    /// How entries of a list `ordered-by user` are moved (RFC 7950 §7.8.6).
    #[derive(Default)]
    ListMoves, "way of moving list entries" {
        /// By the attributes `yang:insert` and `yang:key` (or `yang:value`).
        #[default]
        ByKey = "by_key" / "by yang:insert and yang:key",
        /// The entries are removed and made again in their order, in one candidate: servers exist that refuse
        /// `yang:key`.
        Recreate = "recreate" / "entries removed and made again",
    }
);

words!(
    /// How a change is kept over a reboot.
    #[derive(Default)]
    Startup, "startup handling" {
        /// `copy-config` running to startup where the hello offers `:startup` (RFC 6241 §8.7).
        #[default]
        AsOffered = "as_offered" / "as offered",
        /// Nothing is done.
        Untouched = "untouched" / "untouched",
        /// The RPC of `save_rpc`.
        Rpc = "rpc" / "by an RPC of the platform",
    }
);

/// How devices of a platform are changed. Serialized without what equals the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// What the platform is, for people.
    #[serde(skip_serializing)]
    pub title: String,
    /// What the profile was tried on, for people.
    #[serde(skip_serializing)]
    pub tried_on: String,
    /// Datastores to lock.
    #[serde(skip_serializing_if = "is_default")]
    pub locks: Locks,
    /// When `cancel-commit` is sent.
    #[serde(skip_serializing_if = "is_default")]
    pub cancel: CancelOrder,
    /// Whether confirmed commits are used.
    #[serde(skip_serializing_if = "is_default")]
    pub confirmed_commit: ConfirmedCommitUse,
    /// The device counts its confirm timer in units of this many seconds; the timer is rounded up to them. 0 and 1:
    /// seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub confirm_timeout_step_s: u32,
    /// The with-defaults mode of reads.
    #[serde(skip_serializing_if = "is_default")]
    pub with_defaults: WithDefaults,
    /// How a change is kept over a reboot.
    #[serde(skip_serializing_if = "is_default")]
    pub startup: Startup,
    /// `discard-changes` precedes each edit of the locked candidate: the device grants the lock of a candidate that
    /// still holds what was rolled back or cancelled. Otherwise it does only where an earlier worker may have left
    /// something.
    #[serde(skip_serializing_if = "is_default")]
    pub discard_before_edit: bool,
    /// How list entries are moved.
    #[serde(skip_serializing_if = "is_default")]
    pub list_moves: ListMoves,
    /// With [`Startup::Rpc`]: the content of `<rpc>`, one element.
    #[serde(skip_serializing_if = "is_default")]
    pub save_rpc: String,
    /// Pause between hello and first request, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub settle_ms: u64,
    /// SSH algorithms that are offered beyond the default ones, such as `diffie-hellman-group14-sha1`.
    #[serde(skip_serializing_if = "is_default")]
    pub ssh_algorithms: Vec<String>,
    /// What errors of the platform mean where the general rules are wrong; consulted first, in this order.
    #[serde(skip_serializing_if = "is_default")]
    pub error_rules: Vec<ErrorRule>,
    /// Where the device exam works on devices of the platform. Does not travel with work.
    #[serde(skip_serializing)]
    pub exam: Option<Scratch>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why a text is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ProfileError {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Profile {
    /// Whether the device is changed as RFC 6241 says, so that there is nothing to send.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Reads a profile file (TOML).
    ///
    /// # Errors
    /// [`ProfileError`] with the line.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let at = |offset: usize| text.get(..offset).unwrap_or(text).matches('\n').count() + 1;
        if text.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, at most {MAX_BYTES} are read", text.len());
            return Err(ProfileError { line: 1, message });
        }
        let profile: Self = toml::from_str(text).map_err(|error| ProfileError {
            line: error.span().map_or(1, |span| at(span.start)),
            message: error.message().to_owned(),
        })?;
        profile.check().map_err(|(key, message)| ProfileError {
            line: text.lines().position(|line| line.trim_start().starts_with(key)).map_or(1, |line| line + 1),
            message: format!("{key}: {message}"),
        })?;
        Ok(profile)
    }

    /// What types do not say: the key and what is wrong.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let bounded = |key, given: u64, most: u64| match given > most {
            true => Err((key, format!("{given} is too much, at most {most}"))),
            false => Ok(()),
        };
        bounded("settle_ms", self.settle_ms, MAX_SETTLE_MS)?;
        bounded("confirm_timeout_step_s", self.confirm_timeout_step_s.into(), MAX_CONFIRM_STEP_S.into())?;
        if self.ssh_algorithms.len() > MAX_SSH_ALGORITHMS {
            return Err(("ssh_algorithms", format!("at most {MAX_SSH_ALGORITHMS} can be named")));
        }
        if self.error_rules.len() > MAX_ERROR_RULES {
            return Err(("[[error_rules]]", format!("at most {MAX_ERROR_RULES} can be given")));
        }
        if let Some(unknown) =
            self.ssh_algorithms.iter().find(|name| !WEAK_SSH_ALGORITHMS.contains(&name.as_str()))
        {
            let known = WEAK_SSH_ALGORITHMS.join(", ");
            return Err(("ssh_algorithms", format!("{unknown:?} can't be allowed; give some of {known}")));
        }
        if let Some(scratch) = &self.exam {
            scratch.check().map_err(|(key, why)| (key, format!("of [exam] {why}")))?;
        }
        match (self.startup == Startup::Rpc, self.save_rpc.trim().is_empty()) {
            (true, true) => Err(("startup", "\"rpc\" needs 'save_rpc', the content of <rpc>".to_owned())),
            (false, false) => Err(("save_rpc", "is only sent with startup = \"rpc\"".to_owned())),
            _ => Ok(()),
        }
    }

    /// The confirm timer as the device counts it: `seconds`, rounded up.
    #[must_use]
    pub fn confirm_timeout_s(&self, seconds: u32) -> u32 {
        let step = self.confirm_timeout_step_s.max(1);
        seconds.div_ceil(step).saturating_mul(step)
    }

    /// The same as a duration.
    #[must_use]
    pub fn confirm_timeout(&self, seconds: u32) -> Duration {
        Duration::from_secs(self.confirm_timeout_s(seconds).into())
    }
}

/// The profiles by platform. A platform without one is changed as RFC 6241 says.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    by_platform: BTreeMap<PlatformName, Profile>,
}

impl Profiles {
    /// The shipped ones.
    ///
    /// # Errors
    /// The platform and what is wrong; a test shows that there is none.
    pub fn shipped() -> Result<Self, (&'static str, String)> {
        let mut profiles = Self::default();
        for (name, text) in SHIPPED {
            let platform = PlatformName::new(name).map_err(|error| (name, error.to_string()))?;
            let profile = Profile::parse(text).map_err(|error| (name, error.to_string()))?;
            profiles.insert(platform, profile);
        }
        Ok(profiles)
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, platform: PlatformName, profile: Profile) {
        self.by_platform.insert(platform, profile);
    }

    /// The profile of a platform as it travels with a device's work, without what is only for people; the default
    /// one where there is none.
    #[must_use]
    pub fn of(&self, platform: &PlatformName) -> Profile {
        let profile = self.by_platform.get(platform).cloned().unwrap_or_default();
        Profile { title: String::new(), tried_on: String::new(), exam: None, ..profile }
    }

    /// Where the device exam may work on devices of a platform: the scratch of its profile, then those of the models
    /// that many platforms have. The exam takes the first that the device accepts.
    #[must_use]
    pub fn scratches(&self, platform: &PlatformName) -> Vec<Scratch> {
        let names = [platform.as_str(), "ietf", "sim"];
        let mut scratches: Vec<Scratch> = Vec::new();
        for name in names {
            let profile = self.by_platform.iter().find(|(known, _)| known.as_str() == name);
            if let Some(scratch) = profile.and_then(|(_, profile)| profile.exam.as_ref())
                && !scratches.iter().any(|known| known.create == scratch.create)
            {
                scratches.push(Scratch { name: name.to_owned(), ..scratch.clone() });
            }
        }
        scratches
    }

    /// The profile of a platform as it was written.
    #[must_use]
    pub fn get(&self, platform: &PlatformName) -> Option<&Profile> {
        self.by_platform.get(platform)
    }

    /// Platforms with a profile.
    pub fn names(&self) -> impl Iterator<Item = &PlatformName> {
        self.by_platform.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_profiles_parse_and_say_what_they_were_tried_on() {
        let profiles = Profiles::shipped().unwrap();
        assert_eq!(profiles.names().map(PlatformName::as_str).collect::<Vec<_>>(), {
            shipped_names().collect::<Vec<_>>()
        });
        for name in shipped_names() {
            let profile = profiles.get(&PlatformName::new(name).unwrap()).unwrap();
            assert!(!profile.title.is_empty() && !profile.tried_on.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_shipped_file_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/platforms");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        assert_eq!(files, shipped_names().collect::<Vec<_>>());
    }

    #[test]
    fn profile_error_names_the_line() {
        let error = |text: &str| Profile::parse(text).unwrap_err().to_string();
        assert!(error("title = \"x\"\nlock = \"candidate\"\n").starts_with("line 2: unknown field `lock`"));
        assert!(
            error("\nlocks = \"running\"").contains("line 2: \"running\" is not a known choice of locks")
        );
        assert_eq!(error("\n\nsettle_ms = 9000"), "line 3: settle_ms: 9000 is too much, at most 5000");
        assert!(
            error("\nssh_algorithms = [\"foo\"]")
                .starts_with("line 2: ssh_algorithms: \"foo\" can't be allowed")
        );
        assert!(error("startup = \"rpc\"").contains("needs 'save_rpc'"));
        assert!(error("save_rpc = \"<a/>\"").contains("only sent with startup"));
        assert!(error(&" ".repeat(MAX_BYTES + 1)).contains("bytes"));
    }

    #[test]
    fn default_profile_adds_nothing_to_a_message() {
        assert_eq!(serde_json::to_string(&Profile::default()).unwrap(), "{}");
        let junos = Profiles::shipped().unwrap().of(&PlatformName::new("junos").unwrap());
        let travelled: Profile = serde_json::from_str(&serde_json::to_string(&junos).unwrap()).unwrap();
        assert_eq!(junos, travelled);
    }

    #[test]
    fn confirm_timeout_is_rounded_up_to_the_devices_unit() {
        let minutes = Profile { confirm_timeout_step_s: 60, ..Profile::default() };
        assert_eq!([1, 60, 61, 600].map(|seconds| minutes.confirm_timeout_s(seconds)), [60, 60, 120, 600]);
        assert_eq!(Profile::default().confirm_timeout_s(37), 37);
    }
}
