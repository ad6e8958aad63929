//! Host keys and authentication.

use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, PrivateKey, agent};
use secrecy::SecretString;
use turnup_netconf::server::{HostKeyPair, Login, Options};
use turnup_netconf::ssh::{
    Authentication, ConnectError, Credentials, PinnedHostKey, Session, SshAlgorithms, Target, connect,
    learn_host_key, verify_host_key,
};

use crate::device::{PASSWORD, Served, TestDevice, USER, later, operation};

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

#[tokio::test]
async fn refuses_a_changed_host_key_before_sending_credentials() {
    let served = Served::start().await;
    let pinned = served.host_key();
    let fingerprint: PinnedHostKey = pinned.fingerprint().parse().unwrap();
    let changed = HostKeyPair::from_seed(&[8; 32]);
    *served.device.key.lock().unwrap() = changed.clone();
    for pinned in [pinned, fingerprint] {
        let credentials = Credentials::password(USER, secret(PASSWORD));
        let error = connect(&served.target(), &credentials, &pinned, &Default::default()).await.unwrap_err();
        match &error {
            ConnectError::HostKeyMismatch { expected, presented, .. } => {
                assert_eq!(*expected, pinned.fingerprint());
                assert_eq!(*presented, changed.fingerprint());
            }
            other => panic!("{other}"),
        }
        let text = error.to_string();
        assert!(text.contains(&pinned.fingerprint()) && text.contains(&changed.fingerprint()), "{text}");
    }
    assert!(!served.device.saw_password.load(Ordering::SeqCst));
}

#[tokio::test]
async fn learns_a_host_key_without_logging_in() {
    let served = Served::start().await;
    let learned =
        learn_host_key(&served.target(), &SshAlgorithms::default(), Duration::from_secs(10)).await.unwrap();
    assert_eq!(learned.fingerprint(), served.device.key.lock().unwrap().fingerprint());
    assert_eq!(learned.algorithm(), "ssh-ed25519");
    assert_eq!(learned.to_openssh().trim(), served.device.key.lock().unwrap().public_key().trim());
    let limit = Duration::from_secs(10);
    let verified = verify_host_key(&served.target(), &served.host_key(), &SshAlgorithms::default(), limit)
        .await
        .unwrap();
    assert_eq!(verified, learned);
    let other: PinnedHostKey = HostKeyPair::from_seed(&[8; 32]).public_key().parse().unwrap();
    let error =
        verify_host_key(&served.target(), &other, &SshAlgorithms::default(), limit).await.unwrap_err();
    assert!(matches!(error, ConnectError::HostKeyMismatch { .. }), "{error}");
    assert!(!served.device.saw_password.load(Ordering::SeqCst));
    let credentials = Credentials::password(USER, secret(PASSWORD));
    let session = connect(&served.target(), &credentials, &learned.trust(), &Default::default()).await;
    assert!(session.is_ok());
}

#[tokio::test]
async fn takes_a_fingerprint_as_pin() {
    let served = Served::start().await;
    let pinned: PinnedHostKey = served.host_key().fingerprint().parse().unwrap();
    let credentials = Credentials::password(USER, secret(PASSWORD));
    assert!(connect(&served.target(), &credentials, &pinned, &Default::default()).await.is_ok());
    assert!("SHA256:tooshort".parse::<PinnedHostKey>().is_err());
    assert!("ssh-ed25519".parse::<PinnedHostKey>().is_err());
    assert!("".parse::<PinnedHostKey>().is_err());
}

#[tokio::test]
async fn talks_to_devices_with_only_an_rsa_key() {
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Rsa { hash: None }).unwrap();
    let text = key.to_openssh(Default::default()).unwrap();
    let device = TestDevice::default();
    *device.key.lock().unwrap() = HostKeyPair::from_private_key(&text).unwrap();
    let served = Served::start_with(device, Default::default()).await;
    let mut session = served.connect().await;
    assert!(session.rpc(&operation("ok"), later()).await.unwrap().is_ok());
}

#[tokio::test]
async fn reports_refused_credentials() {
    let served = Served::start().await;
    let credentials = Credentials::password(USER, secret("wrong-password"));
    let error =
        connect(&served.target(), &credentials, &served.host_key(), &Default::default()).await.unwrap_err();
    match &error {
        ConnectError::AuthenticationFailed { username, tried, offered, .. } => {
            assert_eq!((username.as_str(), tried.as_str()), (USER, "password"));
            assert!(offered.contains("publickey"), "{offered}");
        }
        other => panic!("{other}"),
    }
    assert!(!format!("{error} {error:?} {credentials:?}").contains("wrong-password"));
}

#[tokio::test]
async fn logs_in_by_private_key() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa { hash: None }] {
        let key = PrivateKey::random(&mut safe_rng(), algorithm).unwrap();
        let served = Served::start().await;
        let private_key = key.to_openssh(Default::default()).unwrap().to_string();
        let credentials = Credentials::private_key(USER, secret(&private_key));
        let refused = connect(&served.target(), &credentials, &served.host_key(), &Default::default()).await;
        assert!(matches!(refused, Err(ConnectError::AuthenticationFailed { .. })));
        *served.device.authorized.lock().unwrap() = Some(key.public_key().to_openssh().unwrap());
        let session = connect(&served.target(), &credentials, &served.host_key(), &Default::default()).await;
        assert!(session.unwrap().rpc(&operation("ok"), later()).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn tries_methods_in_order_and_passes_over_those_not_offered() {
    let served = Served::start().await;
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let credentials = Credentials {
        username: USER.to_owned(),
        methods: vec![
            Authentication::PrivateKey {
                key: secret(&key.to_openssh(Default::default()).unwrap()),
                passphrase: None,
            },
            Authentication::KeyboardInteractive(secret(PASSWORD)),
        ],
    };
    assert!(connect(&served.target(), &credentials, &served.host_key(), &Default::default()).await.is_ok());
}

#[tokio::test]
async fn answers_prompts_with_the_password_where_only_prompts_are_offered() {
    let options = Options { logins: vec![Login::KeyboardInteractive], ..Default::default() };
    let served = Served::start_with(TestDevice::default(), options).await;
    let credentials = Credentials::password(USER, secret(PASSWORD));
    assert!(connect(&served.target(), &credentials, &served.host_key(), &Default::default()).await.is_ok());
    let wrong = Credentials::password(USER, secret("wrong"));
    let error = connect(&served.target(), &wrong, &served.host_key(), &Default::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::AuthenticationFailed { .. }), "{error}");
}

#[tokio::test]
async fn a_broken_private_key_is_an_error_of_this_side() {
    let served = Served::start().await;
    let credentials = Credentials::private_key(USER, secret("-----BEGIN NONSENSE-----"));
    let error =
        connect(&served.target(), &credentials, &served.host_key(), &Default::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Credentials { .. }), "{error}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_an_error_of_this_side() {
    let served = Served::start().await;
    let socket = Some("/nonexistent/agent.sock".into());
    let credentials =
        Credentials { username: USER.to_owned(), methods: vec![Authentication::Agent { socket }] };
    let error =
        connect(&served.target(), &credentials, &served.host_key(), &Default::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Credentials { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let port = {
        let served = Served::start().await;
        served.listening.address().port()
    };
    let credentials = Credentials::password(USER, secret(PASSWORD));
    let pinned = HostKeyPair::from_seed(&[1; 32]).public_key().parse().unwrap();
    crate::device::wait_until("the port is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    })
    .await;
    let error = connect(&Target::new("127.0.0.1", port), &credentials, &pinned, &Default::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[derive(Clone)]
struct WillingAgent;

impl agent::server::Agent for WillingAgent {}

#[tokio::test]
async fn logs_in_by_the_keys_of_an_agent() {
    let folder = std::env::temp_dir().join(format!("turnup-netconf-agent-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let connections = Box::pin(futures_util::stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    }));
    tokio::spawn(agent::server::serve(connections, WillingAgent));
    // The second is the one that may log in.
    let keys = [Algorithm::Ed25519, Algorithm::Rsa { hash: None }]
        .map(|algorithm| PrivateKey::random(&mut safe_rng(), algorithm).unwrap());
    let mut client = agent::client::AgentClient::connect_uds(&socket).await.unwrap();
    for key in &keys {
        client.add_identity(key, &[]).await.unwrap();
    }
    let served = Served::start().await;
    let methods = vec![Authentication::Agent { socket: Some(socket) }];
    let credentials = Credentials { username: USER.to_owned(), methods };
    let connect = || connect_now(&served, &credentials);
    assert!(matches!(connect().await, Err(ConnectError::AuthenticationFailed { .. })));
    for key in &keys {
        *served.device.authorized.lock().unwrap() = Some(key.public_key().to_openssh().unwrap());
        assert!(connect().await.unwrap().rpc(&operation("ok"), later()).await.unwrap().is_ok());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

async fn connect_now(served: &Served, credentials: &Credentials) -> Result<Session, ConnectError> {
    connect(&served.target(), credentials, &served.host_key(), &Default::default()).await
}
