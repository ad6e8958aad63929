//! The script: every misbehaviour as a client meets it.

use std::time::{Duration, Instant};

use turnup_device_sim::Profile;
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, Greeting, Lie, PhantomLock, Refusal};
use turnup_device_sim::journal::times_changed_to;
use turnup_netconf::message::ErrorTag;
use turnup_netconf::operation::{Datastore, EditConfig, Operation};
use turnup_netconf::ssh::{self, Cause, ConnectError, Phase, RpcFailure};

use crate::device::{
    One, SIM, connect, connect_with, later, mtu, ok, parse, provisional, read_mtu, tag, wait_until,
};

const MTU: &str = "/interfaces/interface[name='ge-0']/mtu";

async fn with(behaviour: Behaviour) -> One {
    let one = One::start().await;
    one.device.set_behaviour(behaviour).await.unwrap();
    one
}

fn with_fault(fault: Fault) -> Behaviour {
    Behaviour { faults: vec![fault], ..Behaviour::default() }
}

#[tokio::test]
async fn a_connection_dropped_before_or_after_the_commit() {
    for (fault, in_force) in
        [(Fault::before("commit", Act::Drop), false), (Fault::after("commit", Act::Drop), true)]
    {
        let one = with(with_fault(fault)).await;
        let mut session = one.connect().await;
        ok(&mut session, &mtu(1500)).await;
        let failure = session.rpc(&provisional(60, Some("token")), later()).await.unwrap_err();
        assert!(matches!(failure, RpcFailure::NoAnswer { cause: Cause::Closed, .. }), "{failure}");
        assert_eq!(one.device.has_pending_commit(), in_force);
        let mut session = one.connect().await;
        assert_eq!(read_mtu(&mut session).await.is_some(), in_force);
        // The fault is spent; what was in doubt can be done again.
        match in_force {
            true => ok(&mut session, &Operation::commit_confirming("token")).await,
            false => ok(&mut session, &Operation::commit()).await,
        };
        let records = one.simulator.journal().unwrap();
        assert_eq!(times_changed_to(&records, "sim-a-1", MTU, Some("1500")), 1);
        one.assert_journal_agrees();
    }
}

#[tokio::test]
async fn hangs_before_or_after() {
    for (fault, in_force) in
        [(Fault::before("commit", Act::Hang), false), (Fault::after("commit", Act::Hang), true)]
    {
        let one = with(with_fault(fault)).await;
        let mut session = one.connect().await;
        ok(&mut session, &mtu(1500)).await;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(200);
        let failure = session.rpc(&Operation::commit(), deadline).await.unwrap_err();
        assert_eq!(*failure.cause(), Cause::Deadline);
        assert_eq!(!one.device.running().is_empty(), in_force);
    }
}

#[tokio::test]
async fn refuses_and_babbles() {
    let refusal = Refusal {
        path: Some(MTU.to_owned()),
        message: Some("not today".to_owned()),
        ..Refusal::new(ErrorTag::InvalidValue)
    };
    let faults = vec![
        Fault::before("edit-config", Act::Refuse(refusal)),
        Fault::before("edit-config", Act::Garbage).at(3),
    ];
    let one = with(Behaviour { faults, ..Behaviour::default() }).await;
    let mut session = one.connect().await;
    let reply = session.rpc(&mtu(1500), later()).await.unwrap();
    let error = &reply.errors()[0];
    assert_eq!((error.tag.clone(), error.path.as_deref()), (ErrorTag::InvalidValue, Some(MTU)));
    ok(&mut session, &mtu(1500)).await;
    let failure = session.rpc(&mtu(1500), later()).await.unwrap_err();
    assert!(matches!(failure.cause(), Cause::Protocol(_)), "{failure}");
}

#[tokio::test]
async fn takes_its_time() {
    let one = with(Behaviour { commit_delay_ms: 150, ..Behaviour::default() }).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    let begun = Instant::now();
    ok(&mut session, &Operation::commit()).await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
    // A client that goes away meanwhile doesn't keep the device from finishing.
    ok(&mut session, &mtu(9000)).await;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(50);
    assert!(session.rpc(&Operation::commit(), deadline).await.unwrap_err().in_doubt());
    wait_until("the commit is done", || one.device.running().get(MTU).is_some_and(|mtu| **mtu == *"9000"))
        .await;
    one.assert_journal_agrees();
}

#[tokio::test]
async fn a_commit_under_way_dies_with_a_kill_or_a_power_cut() {
    for killed in [true, false] {
        let one = with(Behaviour { commit_delay_ms: 1000, ..Behaviour::default() }).await;
        let mut session = one.connect().await;
        ok(&mut session, &mtu(1500)).await;
        let number = session.session_id();
        let mut other = one.connect().await;
        let mut commits = tokio::spawn(async move { session.rpc(&Operation::commit(), later()).await });
        // Long enough to reach the device, and if it doesn't, nothing comes of it either.
        let early = tokio::time::timeout(Duration::from_millis(100), &mut commits).await;
        assert!(early.is_err(), "answered before its time");
        match killed {
            true => drop(ok(&mut other, &Operation::kill_session(number)).await),
            false => one.device.reboot().await.unwrap(),
        }
        assert!(commits.await.unwrap().is_err());
        // Nothing tells when the device would have been done but the time it takes.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(one.device.running().is_empty());
        assert!(one.simulator.journal().unwrap().is_empty());
    }
}

#[tokio::test]
async fn phantom_locks() {
    let lock = PhantomLock { session_id: 99, running: true, candidate: false };
    let one = with(Behaviour { phantom_lock: Some(lock), ..Behaviour::default() }).await;
    let mut session = one.connect().await;
    let denied = session.rpc(&Operation::lock(Datastore::Running), later()).await.unwrap();
    assert_eq!(denied.errors()[0].session_id(), Some(99));
    ok(&mut session, &Operation::lock(Datastore::Candidate)).await;
    assert_eq!(tag(&mut session, &Operation::commit()).await, "in-use");
    one.device.set_behaviour(Behaviour::default()).await.unwrap();
    ok(&mut session, &Operation::lock(Datastore::Running)).await;
}

#[tokio::test]
async fn lies_about_commits() {
    let one = with(Behaviour { lie: Some(Lie::CommitChangesNothing), ..Behaviour::default() }).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(60, Some("token"))).await;
    assert_eq!(read_mtu(&mut session).await, None);
    assert!(one.simulator.journal().unwrap().is_empty());

    let lie = Some(Lie::ConfirmedCommitIsFinal);
    one.device.set_behaviour(Behaviour { lie, ..Behaviour::default() }).await.unwrap();
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(60, Some("token"))).await;
    assert_eq!(one.kinds(), ["committed"]);
    assert_eq!(tag(&mut session, &Operation::cancel_commit(Some("token"))).await, "invalid-value");
}

#[tokio::test]
async fn refuses_connections_while_down() {
    let one = One::start().await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(60, Some("token"))).await;
    let address = one.device.address();
    one.device.set_behaviour(Behaviour { down: true, ..Behaviour::default() }).await.unwrap();
    let refused = connect(&one.device).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Unreachable { phase: Phase::Tcp, .. }), "{refused}");
    assert!(session.rpc(&Operation::commit(), later()).await.is_err());
    one.device.set_behaviour(Behaviour::default()).await.unwrap();
    assert_eq!(one.device.address(), address);
    let mut session = one.connect().await;
    // It was only cut off.
    ok(&mut session, &Operation::commit_confirming("token")).await;
    assert_eq!(one.kinds(), ["provisional", "confirmed"]);
}

#[tokio::test]
async fn reboots() {
    let one = One::start().await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &Operation::commit()).await;
    ok(&mut session, &mtu(9000)).await;
    ok(&mut session, &provisional(60, Some("token"))).await;
    ok(&mut session, &Operation::lock(Datastore::Running)).await;
    // Without its lock, a changed candidate outlives the session, but not the device.
    ok(&mut session, &mtu(1600)).await;
    one.device.reboot().await.unwrap();
    let mut session = one.connect().await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
    for datastore in [Datastore::Running, Datastore::Candidate] {
        ok(&mut session, &Operation::lock(datastore)).await;
    }
    assert_eq!(one.kinds(), ["committed", "provisional", "reverted"]);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn is_not_to_be_trusted() {
    let one = with(Behaviour { wrong_host_key: true, ..Behaviour::default() }).await;
    let refused = connect(&one.device).await.unwrap_err();
    assert!(matches!(refused, ConnectError::HostKeyMismatch { .. }), "{refused}");
    let behaviour = Behaviour { refuse_authentication: true, ..Behaviour::default() };
    one.device.set_behaviour(behaviour).await.unwrap();
    let refused = connect(&one.device).await.unwrap_err();
    assert!(matches!(refused, ConnectError::AuthenticationFailed { .. }), "{refused}");
}

#[tokio::test]
async fn greets_badly() {
    let options = ssh::Options { connect_timeout: Duration::from_millis(700), ..Default::default() };
    for (greeting, name) in [
        (Greeting::Silence, "Timeout"),
        (Greeting::Drop, "Unreachable NotNetconf"),
        // What isn't a message has no end either.
        (Greeting::Garbage, "Timeout NotNetconf ProtocolBroken"),
    ] {
        let one = with(Behaviour { greeting, ..Behaviour::default() }).await;
        let error = format!("{:?}", connect_with(&one.device, &options).await.unwrap_err());
        let got = error.split([' ', '{']).next().unwrap();
        assert!(name.split(' ').any(|name| name == got), "{greeting:?}: {error}");
    }
}

#[tokio::test]
async fn plays_lesser_devices() {
    let one = with(Behaviour { profile: Profile::ConfirmedCommit10, ..Behaviour::default() }).await;
    let mut session = one.connect().await;
    assert!(!session.is_chunked());
    let capabilities = session.capabilities();
    assert!(capabilities.confirmed_commit_1_0() && !capabilities.confirmed_commit_1_1());
    ok(&mut session, &mtu(1500)).await;
    assert_eq!(tag(&mut session, &provisional(60, Some("token"))).await, "unknown-element");
    ok(&mut session, &provisional(60, None)).await;
    ok(&mut session, &Operation::commit()).await;

    one.device
        .set_behaviour(Behaviour { profile: Profile::WritableRunning, ..Behaviour::default() })
        .await
        .unwrap();
    let mut session = one.connect().await;
    assert!(session.capabilities().writable_running() && !session.capabilities().candidate());
    assert_eq!(tag(&mut session, &mtu(1600)).await, "operation-not-supported");
    assert_eq!(tag(&mut session, &Operation::commit()).await, "operation-not-supported");
    let config = parse(&format!(
        "<interfaces xmlns='{SIM}'><interface><name>ge-0</name><mtu>1600</mtu></interface></interfaces>"
    ));
    ok(&mut session, &Operation::edit_config(EditConfig::new(Datastore::Running, [config]))).await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1600"));
    assert_eq!(one.kinds(), ["provisional", "confirmed", "committed"]);
    one.assert_journal_agrees();
}
