//! Devices that hang, lie, break off and babble.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::ChannelMsg;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;
use turnup_netconf::framing::FramingError;
use turnup_netconf::server::{Greeting, Options};
use turnup_netconf::session::{ClientSession, ProtocolError};
use turnup_netconf::ssh::{self, Cause, ConnectError, Credentials, Phase, RpcFailure, Target};
use turnup_netconf::xml::Limits;

use crate::device::{
    Line, PASSWORD, Served, TestDevice, USER, after_ms, later, operation, operation_with, wait_until,
};

fn short() -> ssh::Options {
    ssh::Options { connect_timeout: Duration::from_millis(500), ..Default::default() }
}

#[tokio::test]
async fn a_timed_out_session_is_never_used_again() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let failure = session.rpc(&operation("silence"), after_ms(100)).await.unwrap_err();
    assert!(failure.in_doubt());
    assert_eq!(*failure.cause(), Cause::Deadline);
    assert!(!session.is_usable());
    let next = session.rpc(&operation("apply"), later()).await.unwrap_err();
    assert!(matches!(next, RpcFailure::NotSent { .. }));
    assert_eq!(served.device.applied.load(Ordering::SeqCst), 0);
    served.wait_no_sessions().await;
}

#[tokio::test]
async fn a_deadline_in_the_past_sends_nothing_and_keeps_the_session() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let failure = session.rpc(&operation("apply"), Instant::now()).await.unwrap_err();
    assert!(matches!(failure, RpcFailure::NotSent { cause: Cause::Deadline }));
    assert!(session.rpc(&operation("ok"), later()).await.unwrap().is_ok());
    assert_eq!(served.device.applied.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_that_was_given_up_poisons_the_session() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let request = operation("wait");
    {
        let call = session.rpc(&request, later());
        tokio::select! {
            _ = call => panic!("the device answers only when released"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
    assert!(!session.is_usable());
    served.device.release.notify_one();
    assert!(session.rpc(&operation("ok"), later()).await.is_err());
}

#[tokio::test]
async fn tells_sent_without_answer_from_not_sent() {
    for (request, applied) in [("drop-before", 0), ("drop-after", 1)] {
        let served = Served::start().await;
        let mut session = served.connect().await;
        let failure = session.rpc(&operation(request), later()).await.unwrap_err();
        assert!(matches!(failure, RpcFailure::NoAnswer { cause: Cause::Closed, sent: 1, .. }), "{failure}");
        assert_eq!(served.device.applied.load(Ordering::SeqCst), applied);
        served.wait_no_sessions().await;
    }
    let served = Served::start().await;
    let mut session = served.connect().await;
    served.listening.cut_connections();
    wait_until("the client has noticed", || !session.is_usable()).await;
    let failure = session.rpc(&operation("apply"), later()).await.unwrap_err();
    assert!(matches!(failure, RpcFailure::NotSent { .. }), "{failure}");
}

#[tokio::test]
async fn a_request_that_only_went_out_in_part_was_not_sent() {
    let served = Served::start().await;
    // Larger than the window of SSH: its end can't go out once nothing comes back.
    let large = operation_with("apply", &"x".repeat(8_000_000));
    for (request, sent) in [(large, false), (operation("apply"), true)] {
        let line = Line::to(&served.target()).await;
        let mut session = served.connect_over(&line.target, &Default::default()).await.unwrap();
        line.stop();
        let failure = session.rpc(&request, after_ms(500)).await.unwrap_err();
        assert_eq!(*failure.cause(), Cause::Deadline);
        assert_eq!(failure.in_doubt(), sent, "{failure}");
        assert!(!session.is_usable());
    }
    assert_eq!(served.device.applied.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_dead_line_is_noticed_by_keepalives() {
    let served = Served::start().await;
    let line = Line::to(&served.target()).await;
    let options = ssh::Options { keepalive: Some(Duration::from_millis(50)), ..Default::default() };
    let mut session = served.connect_over(&line.target, &options).await.unwrap();
    // Idle, but answered: stays good for longer than the keep-alives would allow without answers.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(session.rpc(&operation("ok"), later()).await.unwrap().is_ok());
    line.stop();
    wait_until("the dead line is noticed", || !session.is_usable()).await;
}

#[tokio::test]
async fn a_client_that_does_not_log_in_is_turned_away() {
    let options = Options { login_timeout: Duration::from_millis(200), ..Default::default() };
    let served = Served::start_with(TestDevice::default(), options).await;
    for said in ["", "SSH-2.0-Hang\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(served.listening.address()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await;
        assert!(end.is_ok(), "the device holds the connection open");
    }
    // One that has logged in stays.
    let mut session = served.connect().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(session.rpc(&operation("ok"), later()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_broken_pipeline_gives_the_answers_it_got() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let operations = [operation("apply"), operation("errors"), operation("silence"), operation("apply")];
    match session.pipeline(&operations, after_ms(300)).await.unwrap_err() {
        RpcFailure::NoAnswer { cause: Cause::Deadline, answered, sent: 4 } => {
            assert_eq!(answered.len(), 2);
            assert!(answered[0].is_ok() && answered[1].is_error());
        }
        other => panic!("{other}"),
    }
    assert_eq!(served.device.applied.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_device_that_is_gone_is_told_from_one_that_takes_long() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    // Long after the first answer, which was there in time.
    let operations = [operation("ok"), operation("wait")];
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        served.device.release.notify_one();
    };
    let asked = session.pipeline_answering_by(&operations, after_ms(150), later());
    let (replies, ()) = tokio::join!(asked, release);
    assert_eq!(replies.unwrap().len(), 2);
    let failure = session.pipeline_answering_by(&operations[1..], after_ms(150), later()).await.unwrap_err();
    assert!(failure.is_unanswered() && failure.in_doubt(), "{failure}");
    assert_eq!(*failure.cause(), Cause::Deadline);
    assert!(!session.is_usable());
}

#[tokio::test]
async fn garbage_breaks_the_session_with_a_name() {
    let garbage = [
        ("<rpc-reply/>]]>]]>", "EndOfMessageAfterChunked"),
        ("\n#0\n", "BadChunk"),
        ("\n#4\n<a>\u{e4}\n##\n", "BadChunk"),
        ("\n#3\n<a>\n##\n", "Malformed"),
        ("\n#4\n<a/>\n##\n", "NotNetconf"),
        ("\n#4294967295\n<", "MessageTooLarge"),
    ];
    for (bytes, name) in garbage {
        let served = Served::start().await;
        let mut session = served.connect().await;
        let failure = session.rpc(&operation_with("raw", bytes), later()).await.unwrap_err();
        assert!(failure.in_doubt());
        assert!(format!("{:?}", failure.cause()).contains(name), "{bytes:?}: {:?}", failure.cause());
        assert!(!session.is_usable());
    }
}

#[tokio::test]
async fn a_reply_to_another_request_breaks_the_session() {
    let reply =
        r#"<rpc-reply xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="99"><ok/></rpc-reply>"#;
    let served = Served::start().await;
    let mut session = served.connect().await;
    let raw = format!("\n#{}\n{reply}\n##\n", reply.len());
    let failure = session.rpc(&operation_with("raw", &raw), later()).await.unwrap_err();
    assert!(matches!(failure.cause(), Cause::Protocol(ProtocolError::UnexpectedReply { .. })), "{failure}");
}

#[tokio::test]
async fn an_oversize_reply_breaks_the_session() {
    let served = Served::start().await;
    let limits = Limits { max_bytes: 100_000, ..Limits::default() };
    let mut session = served.try_connect(&ssh::Options { limits, ..Default::default() }).await.unwrap();
    assert!(session.rpc(&operation_with("large", "90000"), later()).await.is_ok());
    let failure = session.rpc(&operation_with("large", "100001"), later()).await.unwrap_err();
    let framing = ProtocolError::Framing(FramingError::MessageTooLarge { limit: 100_000 });
    assert_eq!(*failure.cause(), Cause::Protocol(framing));
}

#[tokio::test]
async fn an_oversize_request_ends_the_session_on_the_device() {
    let limits = Limits { max_bytes: 100_000, ..Limits::default() };
    let served = Served::start_with(TestDevice::default(), Options { limits, ..Default::default() }).await;
    let mut session = served.connect().await;
    let request = operation_with("apply", &"x".repeat(100_001));
    assert!(session.rpc(&request, later()).await.is_err());
    served.wait_no_sessions().await;
    assert_eq!(served.device.applied.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn names_the_phase_in_which_a_device_hangs() {
    let silent = TestDevice::default();
    *silent.greeting.lock().unwrap() = Greeting::Silence;
    let served = Served::start_with(silent, Options::default()).await;
    let error = served.try_connect(&short()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { phase: Phase::Hello, timeout_ms: 500, .. }), "{error}");
    served.wait_no_sessions().await;

    // Accepts TCP and never says anything.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::new("127.0.0.1", listener.local_addr().unwrap().port());
    let credentials = Credentials::password(USER, SecretString::from(PASSWORD));
    let error = ssh::connect(&target, &credentials, &served.host_key(), &short()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { phase: Phase::KeyExchange, .. }), "{error}");
    // The connection is closed by then, and no task is left behind on it.
    let (mut accepted, _) = listener.accept().await.unwrap();
    let mut all = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), accepted.read_to_end(&mut all)).await;
    assert!(end.is_ok(), "the client holds the connection open");
}

#[tokio::test]
async fn a_hang_in_the_key_exchange_leaves_no_open_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::new("127.0.0.1", listener.local_addr().unwrap().port());
    let credentials = Credentials::password(USER, SecretString::from(PASSWORD));
    let pinned = Served::start().await.host_key();
    let options = short();
    let connecting = ssh::connect(&target, &credentials, &pinned, &options);
    let hanging = async {
        let (mut accepted, _) = listener.accept().await.unwrap();
        // Far enough to make the client wait inside of the key exchange.
        accepted.write_all(b"SSH-2.0-Hang\r\n").await.unwrap();
        let mut all = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), accepted.read_to_end(&mut all)).await.is_ok()
    };
    let (result, closed) = tokio::join!(connecting, hanging);
    let error = result.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { phase: Phase::KeyExchange, .. }), "{error}");
    assert!(closed, "the client holds the connection open");
}

#[tokio::test]
async fn recognises_what_is_not_netconf() {
    for greeting in ["Welcome to the jungle]]>]]>", "<html/>]]>]]>"] {
        let device = TestDevice::default();
        *device.greeting.lock().unwrap() = Greeting::Raw(greeting.as_bytes().to_vec());
        let served = Served::start_with(device, Options::default()).await;
        let error = served.try_connect(&Default::default()).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotNetconf { .. }), "{error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::new("127.0.0.1", listener.local_addr().unwrap().port());
    let credentials = Credentials::password(USER, SecretString::from(PASSWORD));
    let pinned = Served::start().await.host_key();
    let web = async {
        let (mut accepted, _) = listener.accept().await.unwrap();
        accepted.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    };
    let options = Default::default();
    let (result, ()) = tokio::join!(ssh::connect(&target, &credentials, &pinned, &options), web);
    assert!(matches!(result.unwrap_err(), ConnectError::Unreachable { phase: Phase::KeyExchange, .. }));
}

#[tokio::test]
async fn accepts_a_liberal_hello_and_refuses_one_without_common_base() {
    let hello = |capability: &str| {
        format!("<hello><capabilities>{capability}</capabilities><session-id> 7 </session-id></hello>]]>]]>")
    };
    let legacy = "<capability>\n  urn:ietf:params:xml:ns:netconf:base:1.0\n</capability>";
    for (capability, usable) in [(legacy, true), ("<capability>urn:x</capability>", false)] {
        let device = TestDevice::default();
        *device.greeting.lock().unwrap() = Greeting::Raw(hello(capability).into_bytes());
        let served = Served::start_with(device, Options::default()).await;
        match served.try_connect(&Default::default()).await {
            Ok(session) => {
                assert!(usable);
                assert_eq!(session.session_id(), 7);
            }
            Err(ConnectError::ProtocolBroken { error: ProtocolError::NoCommonBase, .. }) => assert!(!usable),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_connection_cut_at_hello_is_reported() {
    let device = TestDevice::default();
    *device.greeting.lock().unwrap() = Greeting::Drop;
    let served = Served::start_with(device, Options::default()).await;
    let error = served.try_connect(&Default::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    served.wait_no_sessions().await;
}

#[tokio::test]
async fn work_begun_is_finished_when_the_client_goes_away() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    assert!(session.rpc(&operation("wait"), after_ms(100)).await.unwrap_err().in_doubt());
    drop(session);
    // The session counts as open until the request that is being carried out is done.
    assert_eq!(served.device.sessions.lock().unwrap().len(), 1);
    served.device.release.notify_one();
    served.wait_no_sessions().await;
    assert_eq!(served.device.applied.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_device_that_falls_silent_lets_go_of_the_session_when_the_client_does() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    served.device.release.notify_one();
    // The first makes the device work in the background from then on.
    let operations = [operation("wait"), operation("wait"), operation("silence")];
    let begun = session.pipeline(&operations, after_ms(500));
    let release = async {
        served.wait_calls("wait", 2).await;
        served.device.release.notify_one();
    };
    let (failure, ()) = tokio::join!(begun, release);
    assert!(matches!(failure.unwrap_err(), RpcFailure::NoAnswer { answered, .. } if answered.len() == 2));
    served.wait_no_sessions().await;
}

#[tokio::test]
async fn bounds_connections_and_waiting_requests() {
    let options = Options { max_connections: 2, max_waiting_requests: 5, ..Default::default() };
    let served = Served::start_with(TestDevice::default(), options).await;
    let mut first = served.connect().await;
    let second = served.connect().await;
    assert!(served.try_connect(&short()).await.is_err());
    second.close(later()).await;
    wait_until("the second has gone", || served.listening.session_ids() == [1]).await;
    let mut operations = vec![operation("wait")];
    operations.resize(20, operation("ok"));
    let failure = first.pipeline(&operations, later()).await.unwrap_err();
    assert_eq!(*failure.cause(), Cause::Closed);
    served.device.release.notify_one();
    served.wait_no_sessions().await;
}

#[tokio::test]
async fn settles_before_the_first_request() {
    let served = Served::start().await;
    let options = ssh::Options { settle: Duration::from_millis(200), ..Default::default() };
    let begun = Instant::now();
    let session = served.try_connect(&options).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(session.is_usable());
}

/// A client of SSH that takes any host key.
struct Careless;

impl client::Handler for Careless {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn answers_do_not_pile_up_for_a_client_that_does_not_read() {
    let served = Served::start().await;
    let mut handle = client::connect(Arc::default(), served.listening.address(), Careless).await.unwrap();
    assert!(handle.authenticate_password(USER, PASSWORD).await.unwrap().success());
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "netconf").await.unwrap();
    let mut protocol = ClientSession::new(Limits::default(), true);
    channel.data_bytes(protocol.hello()).await.unwrap();
    while protocol.session_id().is_none() {
        if let Some(ChannelMsg::Data { data }) = channel.wait().await {
            protocol.receive(&data).unwrap();
            protocol.next_event().unwrap();
        }
    }
    let mut requests = Vec::new();
    for _ in 0..60 {
        protocol.request(&operation_with("large", "1000000"), &mut requests);
    }
    channel.data_bytes(requests).await.unwrap();
    // Some answers fit into windows and buffers on the way, and the device stops after them.
    wait_until("the device has begun", || served.calls("large") > 0).await;
    let mut calls = 0;
    while served.calls("large") > calls {
        calls = served.calls("large");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(calls < 30, "{calls} answers of a megabyte are in memory");
    // When the client reads on, all come.
    let mut answers = 0;
    while answers < 60 {
        let message = tokio::time::timeout(Duration::from_secs(20), channel.wait()).await.unwrap();
        if let Some(ChannelMsg::Data { data }) = message {
            protocol.receive(&data).unwrap();
            while protocol.next_event().unwrap().is_some() {
                answers += 1;
            }
        }
    }
}
