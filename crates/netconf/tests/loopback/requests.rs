//! Requests and answers.

use std::sync::atomic::Ordering;

use turnup_netconf::capability::{BASE_1_0, BASE_1_1};
use turnup_netconf::message::{ErrorTag, Severity};
use turnup_netconf::namespace;
use turnup_netconf::operation::{Datastore, Operation};
use turnup_netconf::ssh;
use turnup_netconf::xml::Element;

use crate::device::{Served, TEST, TestDevice, later, operation, operation_with};

#[tokio::test]
async fn echoes_a_tree_unchanged() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let tree = Element::new("urn:a", "interfaces")
        .with_attribute_ns(namespace::BASE, "operation", "merge")
        .with_child(Element::new("urn:a", "type").with_prefix("t", "urn:types").with_text("t:ethernet"))
        .with_leaf("description", "a < b & c > d ]]>]]> \"é\" \u{a0}");
    let echo = Operation::new(Element::new(TEST, "echo").with_child(tree.clone()));
    let reply = session.rpc(&echo, later()).await.unwrap().into_result().unwrap();
    let data = reply.data().unwrap();
    assert_eq!(data.children().collect::<Vec<_>>(), [&tree]);
    session.close(later()).await;
    served.wait_no_sessions().await;
}

#[tokio::test]
async fn agrees_on_framing_by_hello() {
    for (theirs, offer_1_1, chunked) in [
        (vec![BASE_1_0, BASE_1_1], true, true),
        (vec![BASE_1_1], true, true),
        (vec![BASE_1_0], true, false),
        (vec![BASE_1_0, BASE_1_1], false, false),
    ] {
        let device = TestDevice::default();
        *device.capabilities.lock().unwrap() = theirs.iter().map(|uri| (*uri).to_owned()).collect();
        let served = Served::start_with(device, Default::default()).await;
        let options = ssh::Options { offer_base_1_1: offer_1_1, ..Default::default() };
        let mut session = served.try_connect(&options).await.unwrap();
        assert_eq!(session.is_chunked(), chunked, "{theirs:?}");
        // More than once, so that the framing of replies is used and not only that of hello.
        for _ in 0..3 {
            assert!(session.rpc(&operation("ok"), later()).await.unwrap().is_ok());
        }
        assert_eq!(session.capabilities().base_1_1(), theirs.contains(&BASE_1_1));
    }
}

#[tokio::test]
async fn keeps_all_errors_and_the_session() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let errors = session.rpc(&operation("errors"), later()).await.unwrap().into_result().unwrap_err();
    let tags: Vec<_> = errors.0.iter().map(|error| error.tag.as_str()).collect();
    assert_eq!(tags, ["invalid-value", "lock-denied", "own-tag"]);
    assert_eq!(errors.0[0].message.as_deref(), Some("too <large> & wide"));
    assert_eq!(errors.0[0].path.as_deref(), Some("/a/b"));
    assert_eq!(errors.0[1].session_id(), Some(42));
    assert_eq!(errors.0[2].severity, Severity::Warning);
    assert_eq!(errors.errors().count(), 2);
    assert_eq!(
        errors.to_string(),
        "invalid-value at /a/b: too <large> & wide; lock-denied: lock held by session 42 [session 42]; \
         warning: own-tag"
    );
    assert!(session.rpc(&operation("ok"), later()).await.unwrap().is_ok());
    let unknown = session.rpc(&Operation::commit(), later()).await.unwrap().into_result().unwrap_err();
    assert_eq!(unknown.0[0].tag, ErrorTag::OperationNotSupported);
}

#[tokio::test]
async fn pipelines_in_order() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let text = |n: u32| Operation::new(Element::new(TEST, "echo").with_leaf("n", n.to_string()));
    let operations: Vec<Operation> = (0..200).map(text).collect();
    let replies = session.pipeline(&operations, later()).await.unwrap();
    let numbers: Vec<String> = replies
        .iter()
        .map(|reply| reply.data().unwrap().children().next().unwrap().text().into_owned())
        .collect();
    assert_eq!(numbers, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn pipelines_in_order_when_one_has_to_wait() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let operations =
        [operation("apply"), operation("wait"), operation("apply"), operation("errors"), operation("wait")];
    let release = async {
        for applied in [1, 3] {
            crate::device::wait_until("the device waits", || {
                served.device.applied.load(Ordering::SeqCst) == applied
            })
            .await;
            served.device.release.notify_one();
        }
    };
    let (replies, ()) = tokio::join!(session.pipeline(&operations, later()), release);
    let answers: Vec<bool> = replies.unwrap().iter().map(|reply| reply.is_ok()).collect();
    assert_eq!(answers, [true, true, true, false, true]);
    assert_eq!(served.device.applied.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn carries_large_messages_both_ways() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    // Larger than the SSH window (2 MiB) in both directions, twice at once.
    let text = "0123456789abcdef".repeat(200_000);
    let echo = Operation::new(Element::new(TEST, "echo").with_leaf("text", text.as_str()));
    let replies = session.pipeline(&[echo.clone(), echo], later()).await.unwrap();
    for reply in replies {
        assert_eq!(reply.data().unwrap().children().next().unwrap().text(), text);
    }
    let reply = session.rpc(&operation_with("large", "5000000"), later()).await.unwrap();
    assert_eq!(reply.data().unwrap().children().next().unwrap().text().len(), 5_000_000);
}

#[tokio::test]
async fn numbers_sessions_and_kills_others() {
    let served = Served::start().await;
    let mut first = served.connect().await;
    let mut second = served.connect().await;
    assert_eq!((first.session_id(), second.session_id()), (1, 2));
    assert_eq!(served.listening.session_ids(), [1, 2]);
    let who = second.rpc(&operation("who"), later()).await.unwrap();
    assert_eq!(who.data().unwrap().child_text(TEST, "session").unwrap(), "2");

    let own = first.rpc(&Operation::kill_session(1), later()).await.unwrap();
    assert_eq!(own.errors()[0].tag, ErrorTag::InvalidValue);
    let work = tokio::spawn(async move {
        let failure = second.rpc(&operation("wait"), later()).await.unwrap_err();
        (second, failure)
    });
    served.wait_calls("wait", 1).await;
    assert!(first.rpc(&Operation::kill_session(2), later()).await.unwrap().is_ok());
    // The killed session's locks are free as soon as the answer is there, also if it was in the middle of
    // something.
    assert_eq!(served.device.sessions.lock().unwrap().keys().copied().collect::<Vec<_>>(), [1]);
    let (mut second, failure) = work.await.unwrap();
    assert!(failure.in_doubt());
    let gone = second.rpc(&operation("ok"), later()).await.unwrap_err();
    assert!(!gone.in_doubt());
    assert!(first.rpc(&operation("ok"), later()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_closed_session_is_over_when_the_answer_is_there() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    assert!(session.rpc(&Operation::close_session(), later()).await.unwrap().is_ok());
    assert!(served.device.sessions.lock().unwrap().is_empty());
    crate::device::wait_until("the client has noticed", || !session.is_usable()).await;
}

#[tokio::test]
async fn a_device_that_is_dropped_is_like_one_without_power() {
    let served = Served::start().await;
    let mut session = served.connect().await;
    let address = served.listening.address();
    drop(served.listening);
    let failure = session.rpc(&operation("ok"), later()).await.unwrap_err();
    assert_eq!(*failure.cause(), ssh::Cause::Closed);
    crate::device::wait_until("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
}

#[tokio::test]
async fn a_dropped_session_is_closed_on_the_device() {
    let served = Served::start().await;
    let session = served.connect().await;
    assert_eq!(served.device.sessions.lock().unwrap().get(&1).map(String::as_str), Some("admin"));
    drop(session);
    served.wait_no_sessions().await;
}

#[tokio::test]
async fn one_process_serves_many_devices() {
    let mut all = Vec::new();
    for number in 0..100_u8 {
        let device = TestDevice::default();
        *device.key.lock().unwrap() = turnup_netconf::server::HostKeyPair::from_seed(&[number; 32]);
        all.push(Served::start_with(device, Default::default()).await);
    }
    let used: Vec<&Served> = all.iter().step_by(20).collect();
    for served in used {
        let mut session = served.connect().await;
        assert!(session.rpc(&Operation::lock(Datastore::Running), later()).await.unwrap().is_error());
    }
}
