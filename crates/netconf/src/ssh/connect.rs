//! Opening sessions.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::{self, DisconnectReason, Handle, Msg};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelId, ChannelMsg, Disconnect, Preferred};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::authenticate::authenticate;
use super::host_key::{PinnedHostKey, PresentedHostKey};
use super::{ConnectError, Credentials, Options, Phase, Session, Target};
use crate::session::{ClientSession, Event, ProtocolError};
use crate::transport::{CutOnDrop, CutStream};

/// Opens a session: TCP, SSH with this host key and these credentials, subsystem `netconf`, hello in both
/// directions, settling; all within [`Options::connect_timeout`]. Credentials are sent only after the host
/// key has matched.
pub async fn connect(
    target: &Target,
    credentials: &Credentials,
    host_key: &PinnedHostKey,
    options: &Options,
) -> Result<Session, ConnectError> {
    let mut phase = Phase::Tcp;
    let opening = Box::pin(open(target, credentials, host_key, options, &mut phase));
    match timeout(options.connect_timeout, opening).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(target, phase, options.connect_timeout)),
    }
}

/// Fetches the host key that a device presents, within `limit`. Nothing is sent but the key exchange; no
/// credentials. Whether the key is to be trusted is for a person to judge.
pub async fn learn_host_key(target: &Target, limit: Duration) -> Result<PresentedHostKey, ConnectError> {
    exchange_keys(target, None, limit).await
}

/// Whether a device presents this host key, within `limit`. Nothing is sent but the key exchange; no
/// credentials. A device with several keys is asked for the pinned one, as [`connect`] does.
///
/// # Errors
/// [`ConnectError::HostKeyMismatch`] with both fingerprints if it is another one.
pub async fn verify_host_key(
    target: &Target,
    pinned: &PinnedHostKey,
    limit: Duration,
) -> Result<PresentedHostKey, ConnectError> {
    exchange_keys(target, Some(pinned), limit).await
}

async fn exchange_keys(
    target: &Target,
    pinned: Option<&PinnedHostKey>,
    limit: Duration,
) -> Result<PresentedHostKey, ConnectError> {
    let mut phase = Phase::Tcp;
    let learning = async {
        let result = Box::pin(dial(target, pinned, &Options::default(), &mut phase)).await;
        result.map(|(connection, presented)| {
            connection.cut();
            presented
        })
    };
    match timeout(limit, learning).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(target, phase, limit)),
    }
}

fn timed_out(target: &Target, phase: Phase, limit: Duration) -> ConnectError {
    let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    ConnectError::Timeout { target: target.clone(), phase, timeout_ms }
}

/// An SSH connection. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Connection {
    handle: HandleDebug,
    closed: Arc<AtomicBool>,
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

/// Callbacks of russh: the check of the host key, and news of the end.
struct Handler {
    pinned: Option<PinnedHostKey>,
    presented: Arc<OnceLock<PublicKey>>,
    closed: Arc<AtomicBool>,
}

impl client::Handler for Handler {
    type Error = russh::Error;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let key = presented.public_key();
        let trusted = self.pinned.as_ref().is_none_or(|pinned| pinned.matches(&key));
        // Certificates aren't offered, so there is one key per connection.
        let _ = self.presented.set(key);
        Ok(trusted)
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut client::Session) -> Result<(), russh::Error> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }

    async fn channel_eof(&mut self, _: ChannelId, _: &mut client::Session) -> Result<(), russh::Error> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        self.closed.store(true, Ordering::Release);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
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
    let handler = Handler { pinned: pinned.cloned(), presented: presented.clone(), closed: closed.clone() };
    let config = Arc::new(ssh_config(pinned, options));
    let result = client::connect_stream(config, stream, handler).await;
    match (result, presented.get(), pinned) {
        (_, Some(key), Some(pinned)) if !pinned.matches(key) => Err(ConnectError::HostKeyMismatch {
            target: target.clone(),
            expected: pinned.fingerprint(),
            presented: PresentedHostKey::new(key.clone()).fingerprint(),
        }),
        (Ok(handle), Some(key), _) => {
            let connection = Connection { handle: HandleDebug(handle), closed, cut };
            Ok((connection, PresentedHostKey::new(key.clone())))
        }
        (Ok(_), None, _) => Err(unreachable(Phase::KeyExchange, "no host key presented".to_owned())),
        (Err(error), _, _) => Err(unreachable(Phase::KeyExchange, error.to_string())),
    }
}

fn ssh_config(pinned: Option<&PinnedHostKey>, options: &Options) -> client::Config {
    let mut keys = Preferred::DEFAULT.key.into_owned();
    if let Some(pinned) = pinned {
        pinned.prefer(&mut keys);
    }
    client::Config {
        preferred: Preferred { key: Cow::Owned(keys), ..Preferred::DEFAULT },
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
    phase: &mut Phase,
) -> Result<Session, ConnectError> {
    let (mut connection, presented) = dial(target, Some(host_key), options, phase).await?;
    *phase = Phase::Authentication;
    authenticate(&mut connection.handle.0, target, credentials).await?;
    *phase = Phase::Subsystem;
    let lost = |phase: Phase, error: russh::Error| ConnectError::Unreachable {
        target: target.clone(),
        phase,
        reason: error.to_string(),
    };
    let channel = match connection.handle.0.channel_open_session().await {
        Ok(channel) => channel,
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            let reason = format!("channel refused: {reason:?}");
            return Err(ConnectError::NotNetconf { target: target.clone(), reason });
        }
        Err(error) => return Err(lost(Phase::Subsystem, error)),
    };
    let mut protocol = ClientSession::new(options.limits, options.offer_base_1_1);
    // Our hello needs no answer to go out, so it saves a round trip to send it along.
    channel.request_subsystem(true, "netconf").await.map_err(|e| lost(Phase::Subsystem, e))?;
    channel.data_bytes(protocol.hello()).await.map_err(|e| lost(Phase::Subsystem, e))?;
    let channel = greet(channel, &mut protocol, target, phase).await?;
    if !options.settle.is_zero() {
        tokio::time::sleep(options.settle).await;
    }
    let (reader, writer) = channel.split();
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

/// Waits for the subsystem and the server's hello.
async fn greet(
    mut channel: Channel<Msg>,
    protocol: &mut ClientSession,
    target: &Target,
    phase: &mut Phase,
) -> Result<Channel<Msg>, ConnectError> {
    let not_netconf =
        |reason: &str| ConnectError::NotNetconf { target: target.clone(), reason: reason.to_owned() };
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => *phase = Phase::Hello,
            Some(ChannelMsg::Failure) => return Err(not_netconf("the subsystem netconf is refused")),
            Some(ChannelMsg::Data { data }) => {
                let event = protocol.receive(&data).and_then(|()| protocol.next_event());
                match event {
                    Ok(Some(Event::Established)) => return Ok(channel),
                    Ok(_) => {}
                    Err(ProtocolError::Message(error)) => return Err(not_netconf(&error.to_string())),
                    Err(error) => {
                        return Err(ConnectError::ProtocolBroken { target: target.clone(), error });
                    }
                }
            }
            // Also what sshd does when the NETCONF server behind it is down.
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                return Err(ConnectError::Unreachable {
                    target: target.clone(),
                    phase: *phase,
                    reason: "the device closed the channel".to_owned(),
                });
            }
            Some(_) => {}
        }
    }
}
