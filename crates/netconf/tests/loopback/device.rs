//! A device for tests: what it answers is scripted by the requests themselves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use turnup_netconf::capability::{BASE_1_0, BASE_1_1, Capabilities};
use turnup_netconf::message::{ErrorTag, ErrorType, Reply, Rpc, RpcError};
use turnup_netconf::operation::Operation;
use turnup_netconf::server::{Device, Greeting, HostKeyPair, Listening, Outcome, Proof, listen};
use turnup_netconf::ssh::{self, ConnectError, Credentials, PinnedHostKey, Session, Target};
use turnup_netconf::xml::Element;

/// Namespace of the device's own operations.
pub(crate) const TEST: &str = "urn:test";
pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "secret-of-the-test";

pub(crate) struct TestDevice {
    pub(crate) key: Mutex<HostKeyPair>,
    pub(crate) capabilities: Mutex<Vec<String>>,
    pub(crate) greeting: Mutex<Greeting>,
    /// The public key that may log in.
    pub(crate) authorized: Mutex<Option<String>>,
    /// Set when any password was seen.
    pub(crate) saw_password: AtomicBool,
    /// Counts `apply`.
    pub(crate) applied: AtomicU32,
    /// Requests begun, by name.
    pub(crate) calls: Mutex<BTreeMap<String, usize>>,
    /// Releases `wait`.
    pub(crate) release: Notify,
    /// What is answered to `scripted`, `get-config` and `get-next`, in this order.
    pub(crate) script: Mutex<VecDeque<Outcome>>,
    /// Those requests, as XML.
    pub(crate) asked: Mutex<Vec<String>>,
    /// Open sessions and who opened them.
    pub(crate) sessions: Mutex<BTreeMap<u32, String>>,
}

impl Default for TestDevice {
    fn default() -> Self {
        Self {
            key: Mutex::new(HostKeyPair::from_seed(&[7; 32])),
            capabilities: Mutex::new(vec![BASE_1_0.to_owned(), BASE_1_1.to_owned()]),
            greeting: Mutex::new(Greeting::Hello),
            authorized: Mutex::new(None),
            saw_password: AtomicBool::new(false),
            applied: AtomicU32::new(0),
            calls: Mutex::new(BTreeMap::new()),
            release: Notify::new(),
            script: Mutex::new(VecDeque::new()),
            asked: Mutex::new(Vec::new()),
            sessions: Mutex::new(BTreeMap::new()),
        }
    }
}

impl Device for TestDevice {
    fn host_key(&self) -> HostKeyPair {
        self.key.lock().unwrap().clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(&*self.capabilities.lock().unwrap())
    }

    fn authenticate(&self, username: &str, proof: Proof<'_>) -> bool {
        match proof {
            Proof::Password(password) => {
                self.saw_password.store(true, Ordering::SeqCst);
                username == USER && password == PASSWORD
            }
            Proof::PublicKey(key) => self.authorized.lock().unwrap().as_deref() == Some(key),
            _ => false,
        }
    }

    fn greeting(&self) -> Greeting {
        self.greeting.lock().unwrap().clone()
    }

    fn session_opened(&self, session_id: u32, username: &str) {
        self.sessions.lock().unwrap().insert(session_id, username.to_owned());
    }

    fn session_closed(&self, session_id: u32) {
        assert!(self.sessions.lock().unwrap().remove(&session_id).is_some(), "closed twice");
    }

    async fn rpc(&self, session_id: u32, request: &Rpc) -> Outcome {
        let operation = &request.operation;
        let number = || operation.text().parse::<usize>().unwrap();
        *self.calls.lock().unwrap().entry(operation.name().to_owned()).or_default() += 1;
        match operation.name() {
            "ok" => Outcome::Reply(Reply::ok()),
            "apply" => {
                self.applied.fetch_add(1, Ordering::SeqCst);
                Outcome::Reply(Reply::ok())
            }
            "echo" => Outcome::Reply(Reply::with_data(operation.children().cloned())),
            "who" => {
                let answer = Element::new(TEST, "session").with_text(session_id.to_string());
                Outcome::Reply(Reply::with_data([answer]))
            }
            "large" => {
                let answer = Element::new(TEST, "large").with_text("x".repeat(number()));
                Outcome::Reply(Reply::with_data([answer]))
            }
            "wait" => {
                self.release.notified().await;
                self.applied.fetch_add(1, Ordering::SeqCst);
                Outcome::Reply(Reply::ok())
            }
            "errors" => {
                let tagged = |tag| RpcError::new(ErrorType::Application, tag);
                Outcome::Reply(Reply::with_errors([
                    tagged(ErrorTag::InvalidValue).with_path("/a/b").with_message("too <large> & wide"),
                    RpcError::lock_denied(42),
                    tagged(ErrorTag::Other("own-tag".to_owned())).as_warning(),
                ]))
            }
            "scripted" | "get-config" | "get-next" => {
                self.asked.lock().unwrap().push(operation.to_xml());
                self.script.lock().unwrap().pop_front().unwrap_or(Outcome::Silence)
            }
            "silence" => Outcome::Silence,
            "drop-before" => Outcome::Drop,
            "drop-after" => {
                self.applied.fetch_add(1, Ordering::SeqCst);
                Outcome::Drop
            }
            "raw" => Outcome::Raw(operation.raw_text().into_owned().into_bytes()),
            other => {
                let error = RpcError::new(ErrorType::Protocol, ErrorTag::OperationNotSupported);
                Outcome::Reply(Reply::with_errors([error.with_message(other)]))
            }
        }
    }
}

/// A device that listens, and where.
pub(crate) struct Served {
    pub(crate) device: Arc<TestDevice>,
    pub(crate) listening: Listening,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(TestDevice::default(), turnup_netconf::server::Options::default()).await
    }

    pub(crate) async fn start_with(device: TestDevice, options: turnup_netconf::server::Options) -> Self {
        let device = Arc::new(device);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listening = listen(listener, device.clone(), Arc::new(options)).unwrap();
        Self { device, listening }
    }

    pub(crate) fn target(&self) -> Target {
        let address = self.listening.address();
        Target::new(address.ip().to_string(), address.port())
    }

    pub(crate) fn host_key(&self) -> PinnedHostKey {
        self.device.host_key().public_key().parse().unwrap()
    }

    pub(crate) async fn connect(&self) -> Session {
        self.try_connect(&ssh::Options::default()).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, options: &ssh::Options) -> Result<Session, ConnectError> {
        self.connect_over(&self.target(), options).await
    }

    /// Connects by way of another address.
    pub(crate) async fn connect_over(
        &self,
        target: &Target,
        options: &ssh::Options,
    ) -> Result<Session, ConnectError> {
        let credentials = Credentials::password(USER, SecretString::from(PASSWORD));
        ssh::connect(target, &credentials, &self.host_key(), options).await
    }

    /// How often a request was begun.
    pub(crate) fn calls(&self, name: &str) -> usize {
        self.device.calls.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// Waits until a request was begun so often.
    pub(crate) async fn wait_calls(&self, name: &str, times: usize) {
        wait_until("the request is begun", || self.calls(name) == times).await;
    }

    /// Waits until the device has no open session.
    pub(crate) async fn wait_no_sessions(&self) {
        wait_until("no session is open", || {
            self.device.sessions.lock().unwrap().is_empty() && self.listening.session_ids().is_empty()
        })
        .await;
    }
}

/// A line to a device that can go dead without being closed.
pub(crate) struct Line {
    pub(crate) target: Target,
    dead: watch::Sender<bool>,
}

impl Line {
    pub(crate) async fn to(target: &Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let device = (target.address.clone(), target.port);
        let (dead, is_dead) = watch::channel(false);
        tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(device).await.unwrap();
            let (mut is_dead, mut gone) = (is_dead.clone(), is_dead);
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                _ = is_dead.wait_for(|dead| *dead) => {}
            }
            // Both ends stay open, and nothing moves, until the test is over.
            while gone.changed().await.is_ok() {}
        });
        Self { target: Target::new("127.0.0.1", port), dead }
    }

    pub(crate) fn stop(&self) {
        self.dead.send_replace(true);
    }
}

/// One of the device's own operations.
pub(crate) fn operation(name: &str) -> Operation {
    Operation::new(Element::new(TEST, name))
}

/// One of the device's own operations with a parameter.
pub(crate) fn operation_with(name: &str, parameter: &str) -> Operation {
    Operation::new(Element::new(TEST, name).with_text(parameter))
}

/// Far enough away not to matter.
pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn after_ms(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

/// Polls a condition until it holds, at most for ten seconds.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
