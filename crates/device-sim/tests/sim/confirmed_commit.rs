//! Commits that are confirmed, cancelled, timed out; sessions that end.

use std::time::{Duration, Instant};

use turnup_netconf::operation::{Datastore, Operation};

use crate::device::{One, later, line, mtu, ok, provisional, read_mtu, tag, wait_until};

#[tokio::test]
async fn confirmed_from_a_second_session_by_its_token() {
    let one = One::start().await;
    let mut first = one.connect().await;
    ok(&mut first, &mtu(1500)).await;
    ok(&mut first, &provisional(60, Some("token"))).await;
    first.close(later()).await;
    assert!(one.device.has_pending_commit());

    let mut second = one.connect().await;
    assert_eq!(read_mtu(&mut second).await.as_deref(), Some("1500"));
    assert_eq!(tag(&mut second, &Operation::lock(Datastore::Running)).await, "lock-denied");
    assert_eq!(tag(&mut second, &Operation::commit_confirming("other")).await, "invalid-value");
    ok(&mut second, &Operation::commit_confirming("token")).await;
    assert!(!one.device.has_pending_commit());
    ok(&mut second, &Operation::lock(Datastore::Running)).await;

    assert_eq!(one.kinds(), ["provisional", "confirmed"]);
    let records = one.simulator.journal().unwrap();
    assert_eq!(records[1].persist.as_deref(), Some("token"));
    assert_ne!(records[0].session, records[1].session);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn taken_back_by_the_timer() {
    let one = One::start().await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &Operation::commit()).await;
    ok(&mut session, &mtu(9000)).await;
    let begun = Instant::now();
    ok(&mut session, &provisional(1, Some("token"))).await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("9000"));
    wait_until("the timer has fired", || !one.device.has_pending_commit()).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
    assert_eq!(tag(&mut session, &Operation::commit_confirming("token")).await, "invalid-value");
    assert_eq!(one.kinds(), ["committed", "provisional", "timed_out"]);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn cancelled_from_a_second_session() {
    let one = One::start().await;
    let mut first = one.connect().await;
    ok(&mut first, &line(100)).await;
    ok(&mut first, &provisional(60, Some("token"))).await;
    let mut second = one.connect().await;
    assert_eq!(tag(&mut second, &Operation::cancel_commit(None)).await, "in-use");
    ok(&mut second, &Operation::cancel_commit(Some("token"))).await;
    assert!(one.device.running().is_empty());
    assert_eq!(one.kinds(), ["provisional", "cancelled"]);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn without_token_it_ends_with_the_session() {
    let one = One::start().await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(60, None)).await;
    drop(session);
    wait_until("the session's end is noticed", || !one.device.has_pending_commit()).await;
    assert!(one.device.running().is_empty());
    assert_eq!(one.kinds(), ["provisional", "reverted"]);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn locks_and_changes_end_with_the_session() {
    let one = One::start().await;
    let mut first = one.connect().await;
    for datastore in [Datastore::Running, Datastore::Candidate] {
        ok(&mut first, &Operation::lock(datastore)).await;
    }
    ok(&mut first, &mtu(1500)).await;
    let mut second = one.connect().await;
    let denied = second.rpc(&Operation::lock(Datastore::Running), later()).await.unwrap();
    assert_eq!(denied.errors()[0].session_id(), Some(first.session_id()));
    assert_eq!(tag(&mut second, &mtu(1600)).await, "in-use");
    // Killed by the other; the device is told before the answer.
    ok(&mut second, &Operation::kill_session(first.session_id())).await;
    ok(&mut second, &Operation::lock(Datastore::Running)).await;
    ok(&mut second, &Operation::lock(Datastore::Candidate)).await;
    assert!(!one.device.candidate_is_changed());
    assert!(one.simulator.journal().unwrap().is_empty());
}

#[tokio::test]
async fn discard_and_confirm_in_one_write() {
    let one = One::start().await;
    let mut first = one.connect().await;
    ok(&mut first, &mtu(1500)).await;
    ok(&mut first, &provisional(60, Some("token"))).await;
    ok(&mut first, &mtu(1600)).await;
    let mut second = one.connect().await;
    let recovery = [Operation::discard_changes(), Operation::commit_confirming("token")];
    let replies = second.pipeline(&recovery, later()).await.unwrap();
    assert!(replies.iter().all(|reply| reply.is_ok()));
    assert_eq!(read_mtu(&mut second).await.as_deref(), Some("1500"));
}
