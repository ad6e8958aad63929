//! The client's transport: NETCONF over SSH, RFC 6242.
//!
//! [`connect`] gives a [`Session`]; [`learn_host_key`] fetches a host key for a person to judge,
//! [`verify_host_key`] only compares it.

mod algorithms;
mod authenticate;
mod connect;
mod handler;
mod host_key;
mod offer;
mod offers;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;

pub use algorithms::{NoCommonAlgorithm, SshAlgorithms, WeakAlgorithm, WeakAlgorithmError};
pub use connect::{connect, learn_host_key, verify_host_key};
pub use host_key::{HostKeyError, PinnedHostKey, PresentedHostKey};
pub use offer::{AlgorithmOffer, learn_algorithms};
pub use session::{Cause, RpcFailure, Session};

use crate::session::ProtocolError;
use crate::xml::Limits;

/// Where a device listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// IP address or host name.
    pub address: String,
    /// TCP port; RFC 6242 assigns 830.
    pub port: u16,
}

impl Target {
    /// A target.
    pub fn new(address: impl Into<String>, port: u16) -> Self {
        Self { address: address.into(), port }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address.contains(':') {
            true => write!(f, "[{}]:{}", self.address, self.port),
            false => write!(f, "{}:{}", self.address, self.port),
        }
    }
}

/// Who logs in and how. The methods are tried in order; those that the server doesn't offer are passed over.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user on the device.
    pub username: String,
    /// Ways to prove it.
    pub methods: Vec<Authentication>,
}

impl Credentials {
    /// A user with a password.
    pub fn password(username: impl Into<String>, password: SecretString) -> Self {
        Self { username: username.into(), methods: vec![Authentication::Password(password)] }
    }

    /// A user with an unencrypted private key in OpenSSH or PEM text.
    pub fn private_key(username: impl Into<String>, key: SecretString) -> Self {
        let methods = vec![Authentication::PrivateKey { key, passphrase: None }];
        Self { username: username.into(), methods }
    }
}

/// A way to prove who one is, RFC 4252 and RFC 4256.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// Method `password`; where the server offers only `keyboard-interactive`, that with the password as
    /// the answer.
    Password(SecretString),
    /// Method `publickey`.
    PrivateKey {
        /// The key's text (OpenSSH, PKCS#8 or PKCS#1 PEM).
        key: SecretString,
        /// For an encrypted key.
        passphrase: Option<SecretString>,
    },
    /// Method `publickey` with the keys of an SSH agent.
    Agent {
        /// The agent's socket; `SSH_AUTH_SOCK` if `None`.
        socket: Option<PathBuf>,
    },
    /// Method `keyboard-interactive`, this being the answer to every prompt that isn't echoed.
    KeyboardInteractive(SecretString),
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// For all of TCP, SSH, subsystem, hello and settling. Default 10 s.
    pub connect_timeout: Duration,
    /// A pause after hello before the first request. Default none; yuma needs 20 ms, or the session wedges.
    pub settle: Duration,
    /// SSH keep-alives while nothing is received; three without answer close the session. Default 30 s.
    pub keepalive: Option<Duration>,
    /// Whether base:1.1 is offered besides base:1.0. Default yes.
    pub offer_base_1_1: bool,
    /// Bounds for every message of the device.
    pub limits: Limits,
    /// Weak SSH algorithms that are offered as well. Default none.
    pub algorithms: SshAlgorithms,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            settle: Duration::ZERO,
            keepalive: Some(Duration::from_secs(30)),
            offer_base_1_1: true,
            limits: Limits::default(),
            algorithms: SshAlgorithms::default(),
        }
    }
}

/// How far a connection had got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Name resolution and TCP.
    Tcp,
    /// SSH key exchange.
    KeyExchange,
    /// Authentication.
    Authentication,
    /// Opening the channel and the subsystem.
    Subsystem,
    /// Waiting for hello.
    Hello,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP connect",
            Self::KeyExchange => "SSH key exchange",
            Self::Authentication => "SSH authentication",
            Self::Subsystem => "opening the netconf subsystem",
            Self::Hello => "waiting for hello",
        })
    }
}

/// Why there is no session. In no case has anything been asked of the device.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No connection, or it was lost before the session was up.
    #[error(
        "{target} can't be reached ({phase}: {reason}): check address, port and the device; worth retrying"
    )]
    Unreachable {
        /// The device.
        target: Target,
        /// How far it got.
        phase: Phase,
        /// In words.
        reason: String,
    },
    /// The time was up.
    #[error("{target} didn't get beyond {phase} within {timeout_ms} ms{}: worth retrying", words(said))]
    Timeout {
        /// The device.
        target: Target,
        /// Where it hung.
        phase: Phase,
        /// The time allowed, milliseconds.
        timeout_ms: u64,
        /// The beginning of what it sent in place of hello, cleaned.
        said: Option<String>,
    },
    /// The device opens no further channel or subsystem. Routers answer so when all of their sessions are
    /// taken, and also when NETCONF isn't enabled.
    #[error(
        "{target} has no free session, or does not allow NETCONF ({reason}): worth retrying; if it stays, \
         NETCONF is not enabled there or not for this user: check the port and the device"
    )]
    NoSession {
        /// The device.
        target: Target,
        /// In words.
        reason: String,
    },
    /// The device lets the user log in but not use NETCONF, and says so.
    #[error(
        "{target} gives user {username} no usable NETCONF session; it says: {words:?}: check the user's rights \
         on the device; don't retry"
    )]
    Restricted {
        /// The device.
        target: Target,
        /// The user.
        username: String,
        /// The device's own words, cleaned and shortened.
        words: String,
    },
    /// The two sides share no SSH algorithm of some kind.
    #[error("{0}; don't retry")]
    NoCommonAlgorithm(Box<NoCommonAlgorithm>),
    /// Another key than the pinned one: another device, or somebody in between.
    #[error(
        "the host key of {target} is {presented} and not {expected}: if the device's key was changed \
         on purpose, trust the new one explicitly; no credentials were sent"
    )]
    HostKeyMismatch {
        /// The device.
        target: Target,
        /// Fingerprint pinned.
        expected: String,
        /// Fingerprint presented.
        presented: String,
    },
    /// The device refused the credentials.
    #[error(
        "{target} refuses user {username} (tried: {tried}; offered: {offered}){}: check the credentials; don't retry",
        remark(hint)
    )]
    AuthenticationFailed {
        /// The device.
        target: Target,
        /// The user.
        username: String,
        /// Methods tried.
        tried: String,
        /// Methods the device offers.
        offered: String,
        /// What else may be the reason, in words.
        hint: Option<&'static str>,
    },
    /// The credentials can't be used on this side.
    #[error("the credentials for {target} can't be used ({reason}): fix them; don't retry")]
    Credentials {
        /// The device.
        target: Target,
        /// In words, without secrets.
        reason: String,
    },
    /// SSH works, but what answers isn't NETCONF.
    #[error("{target} doesn't speak NETCONF ({reason}): check the port and that NETCONF is enabled")]
    NotNetconf {
        /// The device.
        target: Target,
        /// In words.
        reason: String,
    },
    /// The device's hello breaks the protocol.
    #[error("{target} breaks the protocol in its hello: {error}")]
    ProtocolBroken {
        /// The device.
        target: Target,
        /// What is broken.
        error: ProtocolError,
    },
}

/// What a device said, for a message.
fn words(said: &Option<String>) -> String {
    said.as_ref().map_or_else(String::new, |said| format!("; it sent: {said:?}"))
}

fn remark(hint: &Option<&'static str>) -> String {
    hint.map_or_else(String::new, |hint| format!("; {hint}"))
}
