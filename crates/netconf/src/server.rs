//! The server side: plays NETCONF devices over SSH, for simulators and tests.
//!
//! [`listen`] serves one [`Device`] on one listener. A process can serve thousands: until a client
//! connects, a device costs its socket and one small task.
//!
//! Requests of one session are carried out in order, pipelined ones included. An answer that the device
//! gives without waiting is sent from within the connection's task, without any hop to another.

mod connection;
mod host_key;
mod outcome;
mod registry;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub use host_key::HostKeyPair;
pub use outcome::Outcome;

use crate::capability::Capabilities;
use crate::message::Rpc;
use crate::transport::CutStream;
use crate::xml::Limits;
use registry::Registry;

/// A device to be served. One value serves all of its sessions.
pub trait Device: Send + Sync + 'static {
    /// The host key to present, asked for at every connection (so it may be made on first use, and changed).
    fn host_key(&self) -> HostKeyPair;

    /// The capabilities of hello. Which base versions are among them decides about the framing.
    fn capabilities(&self) -> Capabilities;

    /// Whether this login is accepted.
    fn authenticate(&self, username: &str, proof: Proof<'_>) -> bool;

    /// Carries out a request. `close-session` and `kill-session` are dealt with before and don't come here.
    ///
    /// The future is run to its end even if the client goes away meanwhile, as devices do; one that never
    /// ends never frees its session, so to play a hanging device return [`Outcome::Silence`].
    fn rpc(&self, session_id: u32, request: &Rpc) -> impl Future<Output = Outcome> + Send;

    /// What a client gets after opening the subsystem; hello unless the device is to misbehave.
    fn greeting(&self) -> Greeting {
        Greeting::Hello
    }

    /// A session was opened. Session numbers begin at 1 and aren't used twice by one listener.
    fn session_opened(&self, session_id: u32, username: &str) {
        let _ = (session_id, username);
    }

    /// Another session kills this one. `false`: the session goes on, whatever the device has taken from it.
    fn kill_ends(&self, session_id: u32) -> bool {
        let _ = session_id;
        true
    }

    /// A session has ended, for whatever reason; its locks are to be released (RFC 6241 §7.5). Called once,
    /// after the session's last request was carried out; only `kill-session` calls it at once.
    fn session_closed(&self, session_id: u32) {
        let _ = session_id;
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Proof<'a> {
    /// By password, be it with method `password` or `keyboard-interactive`.
    Password(&'a str),
    /// By this public key, whose possession was verified: `ssh-ed25519 AAAA…` without comment.
    PublicKey(&'a str),
}

/// What a client gets after opening the subsystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// Hello.
    Hello,
    /// Nothing, ever.
    Silence,
    /// The end of the connection.
    Drop,
    /// These bytes.
    Raw(Vec<u8>),
}

/// A way to log in that a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Method `password`.
    Password,
    /// Method `publickey`.
    PublicKey,
    /// Method `keyboard-interactive`, asking for a password.
    KeyboardInteractive,
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bounds for every message of a client.
    pub limits: Limits,
    /// Ways to log in that are offered.
    pub logins: Vec<Login>,
    /// Connections of one listener at the same time; more are closed at once. Default 64.
    pub max_connections: usize,
    /// Requests of one session that may wait; a session with more is ended. Default 1,024.
    pub max_waiting_requests: usize,
    /// From TCP to the opened subsystem. Default 30 s.
    pub login_timeout: Duration,
    /// Connections on which nothing at all moves for so long are closed. Default 1 h.
    pub idle_timeout: Duration,
    /// A refused login is answered after this time. Default 100 ms.
    pub refusal_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            logins: vec![Login::PublicKey, Login::Password, Login::KeyboardInteractive],
            max_connections: 64,
            max_waiting_requests: 1024,
            login_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(3600),
            refusal_delay: Duration::from_millis(100),
        }
    }
}

/// A device being served. Dropping it stops listening and cuts all connections, as a power cut would.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    accepting: AbortHandle,
    registry: Arc<Registry>,
}

impl Listening {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections; new ones are accepted.
    pub fn cut_connections(&self) {
        self.registry.cut_all();
    }

    /// Numbers of the open sessions, ascending.
    pub fn session_ids(&self) -> Vec<u32> {
        self.registry.session_ids()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
        self.registry.stop();
    }
}

/// Serves `device` on `listener` until the result is dropped. Must be called inside a tokio runtime.
///
/// # Errors
/// If the listener's address can't be found out.
pub fn listen<D: Device>(
    listener: TcpListener,
    device: Arc<D>,
    options: Arc<Options>,
) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let registry = Arc::new(Registry::default());
    let accepting = tokio::spawn(accept(listener, device, options, registry.clone())).abort_handle();
    Ok(Listening { address, accepting, registry })
}

/// Pause after a failed accept: the usual reason is that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

async fn accept<D: Device>(
    listener: TcpListener,
    device: Arc<D>,
    options: Arc<Options>,
    registry: Arc<Registry>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, &device, &options, &registry),
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn serve<D: Device>(stream: TcpStream, device: &Arc<D>, options: &Arc<Options>, registry: &Arc<Registry>) {
    if registry.connections() >= options.max_connections {
        tracing::debug!("too many connections to one device");
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "can't set TCP_NODELAY");
    }
    let (stream, cut) = CutStream::new(stream);
    let entry = registry.enter(cut);
    tokio::spawn(connection::run(stream, entry, device.clone(), options.clone(), registry.clone()));
}
