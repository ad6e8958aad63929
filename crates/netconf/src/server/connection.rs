//! One connection: SSH, the subsystem, requests in order.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use russh::keys::ssh_key;
use russh::server::{
    self, Auth, ChannelOpenHandle, Handle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, Disconnect, MethodKind, MethodSet};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::outcome::{Effect, Then};
use super::registry::{Entry, OpenSession, Registry};
use super::{Device, Greeting, Login, Options, Outcome, Proof};
use crate::framing::Framing;
use crate::message::{ErrorTag, ErrorType, Reply, RpcError};
use crate::namespace;
use crate::session::{Request, ServerSession};
use crate::transport::CutStream;
use crate::xml::{Attribute, Element};

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Serves one connection until login is over; from then on russh's task does.
pub(super) async fn run<D: Device>(
    stream: CutStream<TcpStream>,
    entry: Entry,
    device: Arc<D>,
    options: Arc<Options>,
    registry: Arc<Registry>,
) {
    let cut = entry.cut.clone();
    let config = Arc::new(config(&*device, &options));
    let (opened, mut is_open) = tokio::sync::oneshot::channel::<()>();
    let handler = Connection {
        device,
        options: options.clone(),
        registry,
        entry,
        username: String::new(),
        opened: Some(opened),
        netconf: None,
    };
    let login = async {
        match server::run_stream(config, stream, handler).await {
            // The sender goes when the subsystem is open, and when the connection ends before.
            Ok(_running) => drop((&mut is_open).await),
            Err(error) => tracing::debug!(%error, "SSH connection failed"),
        }
    };
    if timeout(options.login_timeout, login).await.is_err() {
        cut.cut();
    }
}

fn config<D: Device>(device: &D, options: &Options) -> server::Config {
    let methods: Vec<MethodKind> = options
        .logins
        .iter()
        .map(|login| match login {
            Login::Password => MethodKind::Password,
            Login::PublicKey => MethodKind::PublicKey,
            Login::KeyboardInteractive => MethodKind::KeyboardInteractive,
        })
        .collect();
    server::Config {
        methods: MethodSet::from(methods.as_slice()),
        keys: vec![device.host_key().private_key()],
        auth_rejection_time: options.refusal_delay,
        auth_rejection_time_initial: Some(std::time::Duration::ZERO),
        inactivity_timeout: Some(options.idle_timeout),
        nodelay: true,
        ..server::Config::default()
    }
}

/// Callbacks of russh for one connection.
struct Connection<D: Device> {
    device: Arc<D>,
    options: Arc<Options>,
    registry: Arc<Registry>,
    entry: Entry,
    username: String,
    opened: Option<tokio::sync::oneshot::Sender<()>>,
    netconf: Option<Netconf<D>>,
}

/// The NETCONF session of a connection.
struct Netconf<D: Device> {
    channel: ChannelId,
    protocol: ServerSession,
    session: Arc<OpenSession<D>>,
    /// Takes the requests once one of them had to wait.
    worker: Option<mpsc::Sender<Request>>,
    silent: bool,
}

impl<D: Device> Connection<D> {
    fn login(&mut self, username: &str, proof: Proof<'_>) -> Auth {
        if self.device.authenticate(username, proof) {
            username.clone_into(&mut self.username);
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    fn offers(&self, login: Login) -> bool {
        self.options.logins.contains(&login)
    }

    fn greet(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let cut = self.entry.cut.clone();
        let open = self.registry.open_session(self.device.clone(), &self.username, cut);
        let protocol = ServerSession::new(self.device.capabilities(), open.id, self.options.limits);
        let (bytes, silent) = match self.device.greeting() {
            Greeting::Hello => (protocol.hello(), false),
            Greeting::Raw(bytes) => (bytes, false),
            Greeting::Silence => (Vec::new(), true),
            Greeting::Drop => {
                self.entry.cut.cut();
                (Vec::new(), true)
            }
        };
        self.netconf = Some(Netconf { channel, protocol, session: open, worker: None, silent });
        if bytes.is_empty() { Ok(()) } else { session.data(channel, bytes) }
    }
}

impl<D: Device> server::Handler for Connection<D> {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        if !self.offers(Login::Password) {
            return Ok(Auth::reject());
        }
        Ok(self.login(user, Proof::Password(password)))
    }

    async fn auth_publickey_offered(&mut self, _: &str, _: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(if self.offers(Login::PublicKey) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let bare = ssh_key::PublicKey::new(key.public_key.key_data().clone(), "");
        match bare.to_openssh() {
            Ok(text) if self.offers(Login::PublicKey) => Ok(self.login(user, Proof::PublicKey(text.trim()))),
            _ => Ok(Auth::reject()),
        }
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if !self.offers(Login::KeyboardInteractive) {
            return Ok(Auth::reject());
        }
        let Some(mut answers) = response else {
            let prompts = Cow::Borrowed(&[(Cow::Borrowed("Password: "), false)] as &[_]);
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        let password = answers.next().and_then(|answer| String::from_utf8(answer.to_vec()).ok());
        Ok(self.login(user, Proof::Password(&password.unwrap_or_default())))
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if name != "netconf" || self.netconf.is_some() {
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        self.opened.take();
        self.greet(channel, session)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let max_waiting = self.options.max_waiting_requests;
        match &mut self.netconf {
            Some(netconf) if netconf.channel == channel => netconf.receive(data, session, max_waiting).await,
            _ => Ok(()),
        }
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.channel_close(channel, session).await
    }

    async fn channel_close(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        if self.netconf.take_if(|netconf| netconf.channel == channel).is_some() {
            session.disconnect(Disconnect::ByApplication, "session closed", "")?;
        }
        Ok(())
    }
}

impl<D: Device> Netconf<D> {
    async fn receive(
        &mut self,
        data: &[u8],
        session: &mut Session,
        max_waiting: usize,
    ) -> Result<(), russh::Error> {
        if self.silent {
            return Ok(());
        }
        let mut next = self.protocol.receive(data).and_then(|()| self.protocol.next_request());
        loop {
            match next {
                Ok(None) => return Ok(()),
                Ok(Some(request)) => self.handle(request, session, max_waiting).await?,
                Err(error) => {
                    // RFC 6241 has the session ended: there is no telling where the next message begins.
                    tracing::debug!(session_id = self.session.id, %error, "NETCONF client broke the protocol");
                    return self.end("not NETCONF", session);
                }
            }
            if self.silent {
                return Ok(());
            }
            next = self.protocol.next_request();
        }
    }

    async fn handle(
        &mut self,
        request: Request,
        session: &mut Session,
        max_waiting: usize,
    ) -> Result<(), russh::Error> {
        if let Some(worker) = &self.worker {
            // Waiting for room here would stop the connection's task, which the worker needs for its answers.
            if worker.try_send(request).is_err() {
                return self.end("too many waiting requests", session);
            }
            return Ok(());
        }
        let framing = self.protocol.framing();
        let (attributes, mut running) = begin(request, &self.session);
        let polled = poll_fn(|context| Poll::Ready(running.as_mut().poll(context))).await;
        // While earlier answers wait for the client to make room, later ones must not pile up here.
        let congested = session.has_pending_data(self.channel);
        match polled {
            Poll::Ready(outcome) if !congested => {
                let effect = outcome.into_effect(&attributes, framing);
                self.apply(effect, session)
            }
            polled => {
                if let Poll::Ready(outcome) = polled {
                    running = Box::pin(std::future::ready(outcome));
                }
                let (sender, waiting) = mpsc::channel(max_waiting.max(1));
                self.worker = Some(sender);
                let worker = Worker {
                    session: self.session.clone(),
                    waiting,
                    handle: session.handle(),
                    channel: self.channel,
                    framing,
                };
                tokio::spawn(worker.run(attributes, running));
                Ok(())
            }
        }
    }

    /// Ends the session from this side.
    fn end(&mut self, why: &str, session: &mut Session) -> Result<(), russh::Error> {
        self.silent = true;
        self.worker = None;
        self.session.cut_later();
        session.disconnect(Disconnect::ByApplication, why, "")
    }

    fn apply(&mut self, effect: Effect, session: &mut Session) -> Result<(), russh::Error> {
        if !effect.bytes.is_empty() {
            session.data(self.channel, effect.bytes)?;
        }
        match effect.then {
            Then::GoOn => {}
            Then::Silence => self.silent = true,
            Then::Close => {
                session.close(self.channel)?;
                self.end("session closed", session)?;
            }
            Then::Cut => {
                self.silent = true;
                self.session.cut();
            }
        }
        Ok(())
    }
}

/// Begins to carry out a request. The session lives at least as long as that takes.
fn begin<D: Device>(request: Request, session: &Arc<OpenSession<D>>) -> (Vec<Attribute>, Running) {
    let session = session.clone();
    match request {
        Request::Faulty { attributes, error } => {
            (attributes, Box::pin(std::future::ready(Outcome::Reply(Reply::with_errors([error])))))
        }
        Request::Rpc(rpc) => {
            let attributes = rpc.attributes.clone();
            let running = async move {
                match rpc.operation.name() {
                    "close-session" if rpc.operation.namespace() == namespace::BASE => {
                        session.close();
                        Outcome::ReplyAndClose(Reply::ok())
                    }
                    "kill-session" if rpc.operation.namespace() == namespace::BASE => {
                        kill(&rpc.operation, &session)
                    }
                    _ => session.device().rpc(session.id, &rpc).await,
                }
            };
            (attributes, Box::pin(running))
        }
    }
}

/// `kill-session`, RFC 6241 §7.9.
fn kill<D: Device>(operation: &Element, session: &OpenSession<D>) -> Outcome {
    let id = operation.own_child("session-id").and_then(|id| id.text().parse().ok());
    match id {
        Some(id) if session.kill_other(id) => Outcome::Reply(Reply::ok()),
        _ => {
            let error = RpcError::new(ErrorType::Protocol, ErrorTag::InvalidValue)
                .with_message("no other session has this session-id");
            Outcome::Reply(Reply::with_errors([error]))
        }
    }
}

/// Carries out the requests of a session in a task of its own, after one had to wait.
struct Worker<D: Device> {
    session: Arc<OpenSession<D>>,
    waiting: mpsc::Receiver<Request>,
    handle: Handle,
    channel: ChannelId,
    framing: Framing,
}

impl<D: Device> Worker<D> {
    async fn run(mut self, mut attributes: Vec<Attribute>, mut running: Running) {
        loop {
            let effect = running.await.into_effect(&attributes, self.framing);
            if self.apply(effect).await.is_err() {
                return;
            }
            let Some(request) = self.waiting.recv().await else { return };
            (attributes, running) = begin(request, &self.session);
        }
    }

    /// An error means that the session is over.
    async fn apply(&mut self, effect: Effect) -> Result<(), ()> {
        if !effect.bytes.is_empty() {
            self.handle.data(self.channel, effect.bytes).await.map_err(drop)?;
        }
        match effect.then {
            Then::GoOn => Ok(()),
            Then::Silence => {
                // Until the connection ends.
                while self.waiting.recv().await.is_some() {}
                Err(())
            }
            Then::Close => {
                self.handle.close(self.channel).await?;
                let bye = String::from("session closed");
                let _ = self.handle.disconnect(Disconnect::ByApplication, bye, String::new()).await;
                self.session.cut_later();
                Err(())
            }
            Then::Cut => {
                self.session.cut();
                Err(())
            }
        }
    }
}
