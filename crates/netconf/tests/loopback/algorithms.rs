//! SSH algorithms, refused channels, RSA keys.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use russh::{ChannelOpenFailure, Preferred, cipher, kex, mac};
use secrecy::SecretString;
use turnup_netconf::ssh::{
    self, ConnectError, Credentials, SshAlgorithms, WeakAlgorithm, connect, learn_host_key, verify_host_key,
};

use crate::device::{PASSWORD, USER, wait_until};
use crate::ssh_server::{Policy, SshServer};

fn allowing(extra: &[WeakAlgorithm]) -> ssh::Options {
    ssh::Options { algorithms: SshAlgorithms { extra: extra.to_vec() }, ..Default::default() }
}

async fn log_in(server: &SshServer, options: &ssh::Options) -> Result<(), ConnectError> {
    let credentials = Credentials::password(USER, SecretString::from(PASSWORD));
    connect(&server.target, &credentials, &server.host_key, options).await.map(drop)
}

fn with_exchange(name: kex::Name) -> Preferred {
    Preferred { kex: Cow::Owned(vec![name]), ..Preferred::DEFAULT }
}

#[tokio::test]
async fn nist_curves_work_as_they_are() {
    for name in [kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521] {
        let server = SshServer::start(with_exchange(name), Policy::default()).await;
        log_in(&server, &Default::default()).await.unwrap();
        let limit = Duration::from_secs(10);
        learn_host_key(&server.target, &SshAlgorithms::default(), limit).await.unwrap();
    }
}

#[tokio::test]
async fn weak_algorithms_work_only_where_they_are_allowed() {
    use WeakAlgorithm::{
        Aes128Cbc, DiffieHellmanGroup14Sha1, DiffieHellmanGroupExchangeSha1, HmacSha1, SshRsa,
    };
    let rsa = Algorithm::Rsa { hash: None };
    let weak_mac = Preferred {
        mac: Cow::Owned(vec![mac::HMAC_SHA1]),
        cipher: Cow::Owned(vec![cipher::AES_128_CTR]),
        ..Preferred::DEFAULT
    };
    let weak_cipher = Preferred { cipher: Cow::Owned(vec![cipher::AES_128_CBC]), ..Preferred::DEFAULT };
    let weak_key = Preferred { key: Cow::Owned(vec![rsa.clone()]), ..Preferred::DEFAULT };
    for (preferred, key, weak, kind) in [
        (
            with_exchange(kex::DH_G14_SHA1),
            Algorithm::Ed25519,
            DiffieHellmanGroup14Sha1,
            "key exchange algorithm",
        ),
        (
            with_exchange(kex::DH_GEX_SHA1),
            Algorithm::Ed25519,
            DiffieHellmanGroupExchangeSha1,
            "key exchange algorithm",
        ),
        (weak_mac, Algorithm::Ed25519, HmacSha1, "message authentication algorithm"),
        (weak_cipher, Algorithm::Ed25519, Aes128Cbc, "cipher"),
        (weak_key, rsa, SshRsa, "host key algorithm"),
    ] {
        let server = SshServer::start_with_key(key, preferred, Policy::default()).await;
        match log_in(&server, &Default::default()).await {
            Err(error @ ConnectError::NoCommonAlgorithm(_)) => {
                let text = error.to_string();
                assert!(text.contains(kind), "{text}");
                assert!(text.contains(&format!("the device offers {weak};")), "{text}");
                assert!(text.contains(&format!("platform: {weak})")), "{text}");
            }
            other => panic!("{weak}: {other:?}"),
        }
        log_in(&server, &allowing(&[weak])).await.unwrap_or_else(|e| panic!("{weak}: {e}"));
        let algorithms = SshAlgorithms { extra: vec![weak] };
        verify_host_key(&server.target, &server.host_key, &algorithms, Duration::from_secs(10))
            .await
            .unwrap();
    }
    let broken = SshServer::start(with_exchange(kex::DH_G1_SHA1), Policy::default()).await;
    let error = log_in(&broken, &allowing(&WeakAlgorithm::ALL)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoCommonAlgorithm(_)), "{error}");
}

#[tokio::test]
async fn refused_channel_or_subsystem_may_be_a_session_limit() {
    for reason in [
        ChannelOpenFailure::AdministrativelyProhibited,
        ChannelOpenFailure::ConnectFailed,
        ChannelOpenFailure::ResourceShortage,
    ] {
        let policy = Policy { channel: Some(reason), ..Policy::default() };
        let server = SshServer::start(Preferred::DEFAULT, policy).await;
        let error = log_in(&server, &Default::default()).await.unwrap_err();
        assert!(matches!(error, ConnectError::NoSession { .. }), "{error}");
        assert!(error.to_string().contains("no free session, or does not allow NETCONF"), "{error}");
    }
    let policy = Policy { no_subsystem: true, ..Policy::default() };
    let server = SshServer::start(Preferred::DEFAULT, policy).await;
    let error = log_in(&server, &Default::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoSession { .. }), "{error}");
    assert!(error.to_string().contains("check the port"), "{error}");
    let policy = Policy { channel: Some(ChannelOpenFailure::UnknownChannelType), ..Policy::default() };
    let server = SshServer::start(Preferred::DEFAULT, policy).await;
    let error = log_in(&server, &Default::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotNetconf { .. }), "{error}");
}

/// A server that names these algorithms in server-sig-algs and takes those.
async fn key_server(names: Vec<Algorithm>, takes: Vec<Algorithm>) -> SshServer {
    let preferred = Preferred { key: Cow::Owned(names), ..Preferred::DEFAULT };
    SshServer::start(preferred, Policy { takes, ..Policy::default() }).await
}

#[tokio::test]
async fn rsa_keys_sign_with_what_the_server_takes() {
    const SHA_512: Algorithm = Algorithm::Rsa { hash: Some(HashAlg::Sha512) };
    const SHA_256: Algorithm = Algorithm::Rsa { hash: Some(HashAlg::Sha256) };
    const SHA_1: Algorithm = Algorithm::Rsa { hash: None };
    let key = PrivateKey::random(&mut safe_rng(), SHA_1).unwrap();
    let text = key.to_openssh(Default::default()).unwrap().to_string();
    let credentials = Credentials::private_key(USER, SecretString::from(text));
    let both = ["rsa-sha2-512", "rsa-sha2-256"];
    // Without RSA among them, server-sig-algs says nothing about RSA.
    for (names, takes, allowed, offered, hint) in [
        (vec![Algorithm::Ed25519, SHA_256], vec![SHA_256], false, &both[1..], Ok(())),
        (vec![Algorithm::Ed25519], vec![SHA_512], false, &both[..1], Ok(())),
        (vec![Algorithm::Ed25519], vec![SHA_256], false, &both[..], Ok(())),
        (vec![Algorithm::Ed25519], vec![SHA_1], true, &["ssh-rsa"][..], Ok(())),
        (vec![Algorithm::Ed25519], vec![SHA_512], true, &["ssh-rsa", "rsa-sha2-512"][..], Ok(())),
        (
            vec![Algorithm::Ed25519],
            vec![SHA_1],
            false,
            &both[..],
            Err("took none of rsa-sha2-256/512; it may know SHA-1 only"),
        ),
        (vec![Algorithm::Ed25519, SHA_1], vec![SHA_1], false, &[][..], Err("takes RSA keys with SHA-1 only")),
        (vec![Algorithm::Ed25519, SHA_1], vec![SHA_1], true, &["ssh-rsa"][..], Ok(())),
    ] {
        let server = key_server(names.clone(), takes).await;
        let extra = if allowed { &[WeakAlgorithm::SshRsa][..] } else { &[] };
        let result =
            connect(&server.target, &credentials, &server.host_key, &allowing(extra)).await.map(drop);
        assert_eq!(*server.offered.lock().unwrap(), offered, "{names:?}");
        match (result, hint) {
            (Ok(()), Ok(())) => {}
            (Err(error @ ConnectError::AuthenticationFailed { .. }), Err(hint)) => {
                assert!(error.to_string().contains(hint), "{error}");
            }
            (result, _) => panic!("{names:?}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn device_that_opens_channels_is_cut_off() {
    let server =
        SshServer::start(Preferred::DEFAULT, Policy { opens_channels: 3, ..Policy::default() }).await;
    let credentials = Credentials::password(USER, SecretString::from(PASSWORD));
    let options = ssh::Options::default();
    if let Ok(session) = connect(&server.target, &credentials, &server.host_key, &options).await {
        wait_until("the device is cut off", || !session.is_usable()).await;
    }
}
