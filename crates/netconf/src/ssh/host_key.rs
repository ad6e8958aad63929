//! Host keys: what is pinned, what was presented.

use std::fmt;
use std::str::FromStr;

use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use thiserror::Error;

/// The host key that a device must present: its public key or the key's SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedHostKey(Pin);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pin {
    Key(Box<PublicKey>),
    Fingerprint(Fingerprint),
}

/// A host key as a device presented it, not trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedHostKey {
    key: PublicKey,
}

/// Why a text is no host key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a host key: give an OpenSSH public key (ssh-ed25519 AAAA…) or its fingerprint (SHA256:…)")]
pub struct HostKeyError;

impl FromStr for PinnedHostKey {
    type Err = HostKeyError;

    /// An OpenSSH public key (`ssh-ed25519 AAAA…`) or a fingerprint (`SHA256:…`).
    ///
    /// Prefer the key where a device has several: only then is the right one asked for.
    fn from_str(text: &str) -> Result<Self, HostKeyError> {
        let text = text.trim();
        if text.starts_with("SHA256:") {
            let fingerprint = text.trim_end_matches('=').parse().map_err(|_| HostKeyError)?;
            return Ok(Self(Pin::Fingerprint(fingerprint)));
        }
        let key = PublicKey::from_openssh(text).map_err(|_| HostKeyError)?;
        Ok(Self(Pin::Key(Box::new(key))))
    }
}

impl PinnedHostKey {
    /// The SHA-256 fingerprint, `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        match &self.0 {
            Pin::Key(key) => key.fingerprint(HashAlg::Sha256).to_string(),
            Pin::Fingerprint(fingerprint) => fingerprint.to_string(),
        }
    }

    pub(super) fn matches(&self, presented: &PublicKey) -> bool {
        match &self.0 {
            Pin::Key(key) => key.key_data() == presented.key_data(),
            Pin::Fingerprint(fingerprint) => *fingerprint == presented.fingerprint(fingerprint.algorithm()),
        }
    }

    /// Orders host key algorithms so that a server with several keys presents the pinned one.
    pub(super) fn prefer(&self, algorithms: &mut [Algorithm]) {
        if let Pin::Key(key) = &self.0 {
            let pinned = key.algorithm();
            let same = |algorithm: &Algorithm| match (algorithm, &pinned) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (algorithm, pinned) => algorithm == pinned,
            };
            // The sort is stable: the order inside of each half stays.
            algorithms.sort_by_key(|algorithm| !same(algorithm));
        }
    }
}

impl fmt::Display for PinnedHostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl PresentedHostKey {
    pub(super) fn new(key: PublicKey) -> Self {
        Self { key }
    }

    /// The SHA-256 fingerprint, `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The algorithm, such as `ssh-ed25519`.
    pub fn algorithm(&self) -> String {
        self.key.algorithm().to_string()
    }

    /// The public key as OpenSSH writes it: `ssh-ed25519 AAAA…`.
    pub fn to_openssh(&self) -> String {
        self.key.to_openssh().unwrap_or_default()
    }

    /// The explicit act of trust.
    pub fn trust(self) -> PinnedHostKey {
        PinnedHostKey(Pin::Key(Box::new(self.key)))
    }
}
