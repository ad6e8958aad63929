//! An SSH server that refuses what it is told to refuse.

use std::sync::{Arc, Mutex};

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Preferred};
use tokio::net::TcpListener;
use turnup_netconf::ssh::{PinnedHostKey, Target};

const HELLO: &str = "<hello xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><capabilities><capability>\
                     urn:ietf:params:netconf:base:1.0</capability></capabilities><session-id>5</session-id></hello>]]>]]>";

#[derive(Clone, Default)]
pub(crate) struct Policy {
    /// Why channels are refused, if they are.
    pub(crate) channel: Option<ChannelOpenFailure>,
    /// Whether the subsystem is refused.
    pub(crate) no_subsystem: bool,
    /// How many channels the server opens itself, once hello is sent.
    pub(crate) opens_channels: usize,
    /// Signatures of client keys that are taken.
    pub(crate) takes: Vec<Algorithm>,
}

pub(crate) struct SshServer {
    pub(crate) target: Target,
    pub(crate) host_key: PinnedHostKey,
    /// Algorithms of the client keys that were offered.
    pub(crate) offered: Arc<Mutex<Vec<String>>>,
}

impl SshServer {
    pub(crate) async fn start(preferred: Preferred, policy: Policy) -> Self {
        Self::start_with_key(Algorithm::Ed25519, preferred, policy).await
    }

    pub(crate) async fn start_with_key(algorithm: Algorithm, preferred: Preferred, policy: Policy) -> Self {
        let key = PrivateKey::random(&mut safe_rng(), algorithm).unwrap();
        let host_key = key.public_key().to_openssh().unwrap().parse().unwrap();
        let config = Arc::new(server::Config { keys: vec![key], preferred, ..server::Config::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new("127.0.0.1", listener.local_addr().unwrap().port());
        let offered = Arc::new(Mutex::new(Vec::new()));
        let log = offered.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let handler = Connection { policy: policy.clone(), offered: log.clone() };
                let config = config.clone();
                tokio::spawn(async move {
                    if let Ok(running) = server::run_stream(config, stream, handler).await {
                        let _ = running.await;
                    }
                });
            }
        });
        Self { target, host_key, offered }
    }
}

struct Connection {
    policy: Policy,
    offered: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    fn judge(&self, algorithm: &Algorithm) -> Auth {
        if self.policy.takes.contains(algorithm) { Auth::Accept } else { Auth::reject() }
    }
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        self.offered.lock().unwrap().push(offer.algorithm.to_string());
        Ok(self.judge(offer.algorithm))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(self.judge(key.algorithm))
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.policy.channel.clone() {
            Some(reason) => reply.reject(reason).await,
            None => reply.accept().await,
        }
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.policy.no_subsystem {
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        session.data(channel, HELLO.as_bytes().to_vec())?;
        let (handle, count) = (session.handle(), self.policy.opens_channels);
        tokio::spawn(async move {
            for _ in 0..count {
                if handle.channel_open_session().await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}
