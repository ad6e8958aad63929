//! Opening sessions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::{ChannelMsg, ChannelOpenFailure, ChannelReadHalf, Disconnect};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::algorithms::{NoCommonAlgorithm, SshAlgorithms, preferred};
use super::authenticate::authenticate;
use super::handler::Handler;
use super::host_key::{PinnedHostKey, PresentedHostKey};
use super::offers;
use super::{ConnectError, Credentials, Options, Phase, Session, Target};
use crate::clean;
use crate::session::{ClientSession, Event, ProtocolError};
use crate::transport::{CutOnDrop, CutStream};

/// Longest text of a device that is given, in characters.
pub(super) const MAX_WORDS: usize = 200;
/// Most bytes kept of the standard error of the subsystem.
const MAX_STDERR_BYTES: usize = 2 << 10;
/// How long hello may follow on another message.
const HELLO_GRACE: Duration = Duration::from_secs(2);

/// Opens a session: TCP, SSH with this host key and these credentials, subsystem `netconf`, hello in both
/// directions, settling; all within [`Options::connect_timeout`]. Credentials are sent only after the host
/// key has matched.
pub async fn connect(
    target: &Target,
    credentials: &Credentials,
    host_key: &PinnedHostKey,
    options: &Options,
) -> Result<Session, ConnectError> {
    let mut progress = Progress::new(options);
    let opening = Box::pin(open(target, credentials, host_key, options, &mut progress));
    match timeout(options.connect_timeout, opening).await {
        Ok(result) => result,
        Err(_) => Err(match progress.refused() {
            Some(words) => restricted(target, credentials, words),
            None => timed_out(target, progress.phase, options.connect_timeout, progress.said()),
        }),
    }
}

/// How far a connection has got, and what has been received by then.
struct Progress {
    phase: Phase,
    protocol: ClientSession,
    stderr: Vec<u8>,
}

impl Progress {
    fn new(options: &Options) -> Self {
        let protocol = ClientSession::new(options.limits, options.offer_base_1_1);
        Self { phase: Phase::Tcp, protocol, stderr: Vec::new() }
    }

    fn note_stderr(&mut self, bytes: &[u8]) {
        let room = MAX_STDERR_BYTES.saturating_sub(self.stderr.len());
        self.stderr.extend(bytes.iter().take(room));
    }

    /// What the device said in place of hello.
    fn said(&self) -> Option<String> {
        let stderr = clean::bytes(&self.stderr, MAX_WORDS);
        match (self.protocol.said_before_hello(), stderr.is_empty()) {
            (Some(said), true) => Some(said),
            (Some(said), false) => Some(format!("{said} {stderr}")),
            (None, false) => Some(stderr),
            (None, true) => None,
        }
    }

    /// The same if it says that there is no session for this user.
    fn refused(&self) -> Option<String> {
        let refused = self.protocol.refused_before_hello();
        refused.or_else(|| ClientSession::refusal_in(&self.stderr))
    }
}

fn restricted(target: &Target, credentials: &Credentials, words: String) -> ConnectError {
    ConnectError::Restricted { target: target.clone(), username: credentials.username.clone(), words }
}

/// Fetches the host key that a device presents, within `limit`. Nothing is sent but the key exchange; no
/// credentials. Whether the key is to be trusted is for a person to judge.
pub async fn learn_host_key(
    target: &Target,
    algorithms: &SshAlgorithms,
    limit: Duration,
) -> Result<PresentedHostKey, ConnectError> {
    exchange_keys(target, None, algorithms, limit).await
}

/// Whether a device presents this host key, within `limit`. Nothing is sent but the key exchange; no
/// credentials. A device with several keys is asked for the pinned one, as [`connect`] does.
///
/// # Errors
/// [`ConnectError::HostKeyMismatch`] with both fingerprints if it is another one.
pub async fn verify_host_key(
    target: &Target,
    pinned: &PinnedHostKey,
    algorithms: &SshAlgorithms,
    limit: Duration,
) -> Result<PresentedHostKey, ConnectError> {
    exchange_keys(target, Some(pinned), algorithms, limit).await
}

async fn exchange_keys(
    target: &Target,
    pinned: Option<&PinnedHostKey>,
    algorithms: &SshAlgorithms,
    limit: Duration,
) -> Result<PresentedHostKey, ConnectError> {
    let mut phase = Phase::Tcp;
    let options = Options { algorithms: algorithms.clone(), ..Options::default() };
    let learning = async {
        let result = Box::pin(dial(target, pinned, &options, &mut phase)).await;
        result.map(|(connection, presented)| {
            connection.cut();
            presented
        })
    };
    match timeout(limit, learning).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(target, phase, limit, None)),
    }
}

fn timed_out(target: &Target, phase: Phase, limit: Duration, said: Option<String>) -> ConnectError {
    let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    ConnectError::Timeout { target: target.clone(), phase, timeout_ms, said }
}

/// An SSH connection. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Connection {
    handle: HandleDebug,
    closed: Arc<AtomicBool>,
    /// The device's description of why it refused a channel.
    refusal: Arc<OnceLock<String>>,
    cut: CutOnDrop,
}

struct HandleDebug(Handle<Handler>);

impl std::fmt::Debug for HandleDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Connection {
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && !self.cut.0.is_cut() && !self.handle.0.is_closed()
    }

    /// Ends the connection at once.
    pub(super) fn cut(&self) {
        self.cut.0.cut();
    }

    /// Says good-bye if that is possible before `deadline`, and ends the connection.
    pub(super) async fn disconnect(self, deadline: Instant) {
        let Self { handle: HandleDebug(handle), cut, .. } = self;
        let bye = async {
            handle.disconnect(Disconnect::ByApplication, "", "").await?;
            handle.await
        };
        if !cut.0.is_cut() {
            // Whether it was heard changes nothing.
            let _ = timeout_at(deadline, bye).await;
        }
    }
}

/// TCP and the key exchange. Without `pinned`, any key is taken (and nothing more may be sent).
async fn dial(
    target: &Target,
    pinned: Option<&PinnedHostKey>,
    options: &Options,
    phase: &mut Phase,
) -> Result<(Connection, PresentedHostKey), ConnectError> {
    let unreachable =
        |phase: Phase, reason: String| ConnectError::Unreachable { target: target.clone(), phase, reason };
    *phase = Phase::Tcp;
    let stream = TcpStream::connect((target.address.as_str(), target.port))
        .await
        .map_err(|e| unreachable(Phase::Tcp, e.to_string()))?;
    // Saves 40 ms per connect: small writes would wait for delayed acknowledgements.
    stream.set_nodelay(true).map_err(|e| unreachable(Phase::Tcp, e.to_string()))?;
    *phase = Phase::KeyExchange;
    let (stream, cut) = CutStream::new(stream);
    let cut = CutOnDrop(cut);
    let presented = Arc::new(OnceLock::new());
    let closed = Arc::new(AtomicBool::new(false));
    let refusal = Arc::new(OnceLock::new());
    let handler = Handler {
        pinned: pinned.cloned(),
        presented: presented.clone(),
        closed: closed.clone(),
        refusal: refusal.clone(),
    };
    let config = Arc::new(ssh_config(pinned, options));
    let result = client::connect_stream(config, stream, handler).await;
    match (result, presented.get(), pinned) {
        (_, Some(key), Some(pinned)) if !pinned.matches(key) => Err(ConnectError::HostKeyMismatch {
            target: target.clone(),
            expected: pinned.fingerprint(),
            presented: PresentedHostKey::new(key.clone()).fingerprint(),
        }),
        (Ok(handle), Some(key), _) => {
            let connection = Connection { handle: HandleDebug(handle), closed, refusal, cut };
            Ok((connection, PresentedHostKey::new(key.clone())))
        }
        (Ok(_), None, _) => Err(unreachable(Phase::KeyExchange, "no host key presented".to_owned())),
        (Err(russh::Error::NoCommonAlgo { kind, ours, theirs }), _, _) => {
            let offered = offers::read(target).await;
            let error = NoCommonAlgorithm::new(target, &kind, &ours, &theirs)
                .with_offers(&options.algorithms, offered.as_ref());
            Err(ConnectError::NoCommonAlgorithm(Box::new(error)))
        }
        (Err(error), _, _) => {
            Err(unreachable(Phase::KeyExchange, clean::line(&error.to_string(), MAX_WORDS)))
        }
    }
}

fn ssh_config(pinned: Option<&PinnedHostKey>, options: &Options) -> client::Config {
    client::Config {
        preferred: preferred(&options.algorithms, pinned),
        keepalive_interval: options.keepalive,
        nodelay: true,
        ..client::Config::default()
    }
}

async fn open(
    target: &Target,
    credentials: &Credentials,
    host_key: &PinnedHostKey,
    options: &Options,
    progress: &mut Progress,
) -> Result<Session, ConnectError> {
    let (mut connection, presented) = dial(target, Some(host_key), options, &mut progress.phase).await?;
    progress.phase = Phase::Authentication;
    authenticate(&mut connection.handle.0, target, credentials, &options.algorithms).await?;
    progress.phase = Phase::Subsystem;
    let lost = |error: russh::Error| ConnectError::Unreachable {
        target: target.clone(),
        phase: Phase::Subsystem,
        reason: error.to_string(),
    };
    let channel = match connection.handle.0.channel_open_session().await {
        Ok(channel) => channel,
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            let description = connection.refusal.get().map(String::as_str).unwrap_or_default();
            return Err(no_channel(target, reason, description));
        }
        Err(error) => return Err(lost(error)),
    };
    channel.request_subsystem(true, "netconf").await.map_err(lost)?;
    let (mut reader, writer) = channel.split();
    // Our hello needs no answer to go out, so it saves a round trip to send it along. A server may give no
    // window until the subsystem runs, so the answer to the request is read at the same time.
    let hello = progress.protocol.hello();
    {
        let (send, greeting) = (writer.data_bytes(hello), greet(&mut reader, progress, target, credentials));
        tokio::pin!(send, greeting);
        tokio::select! {
            biased;
            result = &mut send => {
                result.map_err(lost)?;
                greeting.await?;
            }
            greeted = &mut greeting => {
                greeted?;
                send.await.map_err(lost)?;
            }
        }
    }
    if !options.settle.is_zero() {
        tokio::time::sleep(options.settle).await;
    }
    let protocol =
        std::mem::replace(&mut progress.protocol, ClientSession::new(options.limits, options.offer_base_1_1));
    Ok(Session {
        target: target.clone(),
        protocol,
        reader,
        writer,
        connection,
        host_key: presented,
        usable: true,
    })
}

/// A channel that the device refused (RFC 4254 §5.1).
fn no_channel(target: &Target, reason: ChannelOpenFailure, description: &str) -> ConnectError {
    let target = target.clone();
    let mut reason_text = format!("SSH channel refused: {reason:?}");
    if !description.is_empty() {
        reason_text.push_str(&format!(", {description:?}"));
    }
    match reason {
        ChannelOpenFailure::UnknownChannelType => ConnectError::NotNetconf { target, reason: reason_text },
        // Devices use the other reasons without distinction when their sessions are taken.
        _ => ConnectError::NoSession { target, reason: reason_text },
    }
}

/// Waits for the subsystem and the server's hello.
async fn greet(
    reader: &mut ChannelReadHalf,
    progress: &mut Progress,
    target: &Target,
    credentials: &Credentials,
) -> Result<(), ConnectError> {
    let not_netconf = |reason: String| ConnectError::NotNetconf { target: target.clone(), reason };
    // Set once a message came that is no hello.
    let mut hello_by: Option<Instant> = None;
    loop {
        let message = match hello_by {
            None => reader.wait().await,
            Some(by) => match timeout_at(by, reader.wait()).await {
                Ok(message) => message,
                Err(_) => {
                    return Err(match (progress.refused(), progress.said()) {
                        (Some(words), _) => restricted(target, credentials, words),
                        (None, said) => not_netconf(format!("it sent {:?}", said.unwrap_or_default())),
                    });
                }
            },
        };
        match message {
            Some(ChannelMsg::Success) => progress.phase = Phase::Hello,
            Some(ChannelMsg::Failure) => {
                let reason = "it refuses the subsystem netconf".to_owned();
                return Err(ConnectError::NoSession { target: target.clone(), reason });
            }
            Some(ChannelMsg::Data { data }) => {
                let protocol = &mut progress.protocol;
                let event = protocol.receive(&data).and_then(|()| protocol.next_event());
                match event {
                    Ok(Some(Event::Established)) => return Ok(()),
                    Ok(_) if hello_by.is_none() && protocol.has_other_message_before_hello() => {
                        hello_by = Some(Instant::now() + HELLO_GRACE);
                    }
                    Ok(_) => {}
                    Err(ProtocolError::Restricted { words }) => {
                        return Err(restricted(target, credentials, words));
                    }
                    Err(error @ (ProtocolError::Message(_) | ProtocolError::NoHello { .. })) => {
                        return Err(not_netconf(error.to_string()));
                    }
                    Err(error) => {
                        return Err(ConnectError::ProtocolBroken { target: target.clone(), error });
                    }
                }
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => progress.note_stderr(&data),
            // Also what sshd does when the NETCONF server behind it is down.
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                if let Some(words) = progress.refused() {
                    return Err(restricted(target, credentials, words));
                }
                let said = super::words(&progress.said());
                return Err(ConnectError::Unreachable {
                    target: target.clone(),
                    phase: progress.phase,
                    reason: format!("the device closed the channel{said}"),
                });
            }
            Some(_) => {}
        }
    }
}
