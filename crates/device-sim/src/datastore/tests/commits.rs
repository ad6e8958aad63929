use super::*;
use crate::personality::Personality;

pub(super) fn confirmed(seconds: u64, persist: Option<&str>, persist_id: Option<&str>) -> Commit {
    Commit {
        confirmed: Some(Duration::from_secs(seconds)),
        persist: persist.map(str::to_owned),
        persist_id: persist_id.map(str::to_owned),
    }
}

pub(super) fn with_id(persist_id: &str) -> Commit {
    Commit { persist_id: Some(persist_id.to_owned()), ..Commit::default() }
}

/// A device whose MTU is 1500 for good, and now.
fn at_1500() -> (Datastores, Instant) {
    at_1500_as(Personality::DEFAULT)
}

pub(super) fn at_1500_as(personality: Personality) -> (Datastores, Instant) {
    let (mut device, now) = (device().with_personality(personality), Instant::now());
    set_mtu(&mut device, A, 1500);
    assert_eq!(commit(&mut device, A, &Commit::default(), now), Kind::Committed);
    (device, now)
}

/// The same, with 9000 by a confirmed commit of session A.
fn provisional(persist: Option<&str>) -> (Datastores, Instant) {
    let (mut device, now) = at_1500();
    set_mtu(&mut device, A, 9000);
    assert_eq!(commit(&mut device, A, &confirmed(60, persist, None), now), Kind::Provisional);
    assert_eq!(leaf(&device, MTU).as_deref(), Some("9000"));
    (device, now)
}

pub(super) fn assert_mtu(device: &Datastores, mtu: &str) {
    assert_eq!(leaf(device, MTU).as_deref(), Some(mtu));
}

#[test]
fn who_may_confirm_or_cancel() {
    // Token of the pending confirmed commit, session, token given, what comes of it.
    let cases = [
        (None, A, None, "ok"),
        (None, B, None, "in-use"),
        (None, A, Some("x"), "invalid-value"),
        (Some("t"), A, Some("t"), "ok"),
        (Some("t"), B, Some("t"), "ok"),
        (Some("t"), B, Some("u"), "invalid-value"),
        (Some("t"), A, None, "in-use"),
    ];
    for (persist, session, persist_id, expected) in cases {
        let case = format!("{persist:?} {session:?} {persist_id:?}");
        let (mut device, now) = provisional(persist);
        let confirm = Commit { persist_id: persist_id.map(str::to_owned), ..Commit::default() };
        match device.plan_commit(session, &confirm, now) {
            Ok(transition) => {
                assert_eq!((transition.kind, expected), (Kind::Confirmed, "ok"), "{case}");
                assert_eq!(transition.persist.as_deref(), persist);
                device.apply(transition);
                assert!(device.plan_expiry(now + Duration::from_secs(1000)).is_none());
                assert_mtu(&device, "9000");
            }
            Err(errors) => assert_eq!(errors[0].tag.as_str(), expected, "{case}"),
        }
        let (mut device, _) = provisional(persist);
        match device.plan_cancel(session, persist_id) {
            Ok(transition) => {
                assert_eq!((transition.kind, expected), (Kind::Cancelled, "ok"), "{case}");
                assert_eq!(transition.session, session);
                device.apply(transition);
                assert_mtu(&device, "1500");
                assert!(device.confirm_deadline().is_none());
            }
            Err(errors) => assert_eq!(errors[0].tag.as_str(), expected, "{case}"),
        }
    }
}

#[test]
fn nothing_pending_means_nothing_to_confirm_or_cancel() {
    let (device, now) = at_1500();
    assert_eq!(tag(device.plan_commit(A, &with_id("t"), now)), "invalid-value");
    assert_eq!(tag(device.plan_cancel(A, Some("t"))), "invalid-value");
    assert_eq!(tag(device.plan_cancel(A, None)), "operation-failed");
}

#[test]
fn the_timer_takes_back_exactly_when_it_is_due() {
    let (mut device, now) = provisional(Some("t"));
    assert!(device.plan_expiry(now + Duration::from_millis(59_999)).is_none());
    let rollback = device.plan_expiry(now + Duration::from_secs(60)).unwrap();
    assert_eq!((rollback.kind, rollback.session), (Kind::TimedOut, A));
    device.apply(rollback);
    assert_mtu(&device, "1500");
    assert_eq!(tag(device.plan_commit(B, &with_id("t"), now)), "invalid-value");
}

#[test]
fn a_follow_up_extends_and_all_is_taken_back_to_the_beginning() {
    let (mut device, now) = provisional(Some("t"));
    set_mtu(&mut device, B, 1600);
    let later = now + Duration::from_secs(50);
    commit(&mut device, B, &confirmed(60, Some("u"), Some("t")), later);
    assert_mtu(&device, "1600");
    assert!(device.plan_expiry(now + Duration::from_secs(61)).is_none());
    assert_eq!(tag(device.plan_cancel(B, Some("t"))), "invalid-value");
    let rollback = device.plan_expiry(later + Duration::from_secs(60)).unwrap();
    assert_eq!(rollback.persist.as_deref(), Some("u"));
    device.apply(rollback);
    assert_mtu(&device, "1500");
}

#[test]
fn the_end_of_a_session_takes_back_only_its_own_without_persist() {
    for (persist, ends, mtu) in [(None, A, "1500"), (None, B, "9000"), (Some("t"), A, "9000")] {
        let (mut device, _) = provisional(persist);
        if let Some(rollback) = device.plan_session_end(ends) {
            assert_eq!(rollback.kind, Kind::Reverted);
            device.apply(rollback);
        }
        device.close_session(ends);
        assert_mtu(&device, mtu);
    }
}

#[test]
fn a_reboot_takes_back_and_forgets() {
    let (mut device, _) = provisional(Some("t"));
    set_mtu(&mut device, A, 1700);
    device.lock(A, Datastore::Running).unwrap();
    let rollback = device.plan_reboot().unwrap();
    assert_eq!(rollback.kind, Kind::Reverted);
    device.apply(rollback);
    device.reboot();
    assert_mtu(&device, "1500");
    assert!(!device.candidate_is_changed() && device.confirm_deadline().is_none() && !device.is_open(A));
    let again = SessionId { boot: 1, number: 1 };
    device.open_session(again);
    device.lock(again, Datastore::Running).unwrap();
}

#[test]
fn a_confirming_commit_takes_the_candidate_along() {
    let (mut device, now) = provisional(Some("t"));
    set_mtu(&mut device, A, 1700);
    assert_eq!(commit(&mut device, B, &with_id("t"), now), Kind::Confirmed);
    assert_mtu(&device, "1700");
}

#[test]
fn who_may_lock() {
    /// What was before; lock of which datastore by B; session in lock-denied.
    type Case = (&'static str, fn(&mut Datastores), Datastore, Option<u32>);
    let cases: [Case; 12] = [
        ("free running", |_| (), Datastore::Running, None),
        ("free candidate", |_| (), Datastore::Candidate, None),
        ("running held by A", |d| d.lock(A, Datastore::Running).unwrap(), Datastore::Running, Some(1)),
        ("held by itself", |d| d.lock(B, Datastore::Running).unwrap(), Datastore::Running, Some(2)),
        ("other datastore held", |d| d.lock(A, Datastore::Running).unwrap(), Datastore::Candidate, None),
        ("candidate changed by A", |d| set_mtu(d, A, 1600), Datastore::Candidate, Some(1)),
        ("candidate changed by B", |d| set_mtu(d, B, 1600), Datastore::Candidate, Some(2)),
        (
            "candidate changed by a session that is gone",
            |d| {
                set_mtu(d, A, 1600);
                d.close_session(A);
            },
            Datastore::Candidate,
            Some(0),
        ),
        ("running with a changed candidate", |d| set_mtu(d, A, 1600), Datastore::Running, None),
        (
            "confirmed commit of A pending",
            |d| {
                set_mtu(d, A, 1600);
                commit(d, A, &confirmed(60, None, None), Instant::now());
            },
            Datastore::Running,
            Some(1),
        ),
        (
            "confirmed commit of B pending",
            |d| {
                set_mtu(d, B, 1600);
                commit(d, B, &confirmed(60, None, None), Instant::now());
            },
            Datastore::Running,
            None,
        ),
        ("a phantom", |d| d.set_phantom_locks(Some(99), None), Datastore::Running, Some(99)),
    ];
    for (name, before, datastore, denied) in cases {
        let mut device = device();
        before(&mut device);
        match device.lock(B, datastore) {
            Ok(()) => assert_eq!(denied, None, "{name}"),
            Err(errors) => {
                assert_eq!(errors[0].tag, ErrorTag::LockDenied, "{name}");
                assert_eq!(errors[0].session_id(), denied, "{name}");
            }
        }
    }
}

#[test]
fn locks_keep_others_out_until_released() {
    let (mut device, now) = at_1500();
    device.lock(A, Datastore::Candidate).unwrap();
    let config = interfaces("<interface><name>x</name></interface>");
    assert_eq!(tag(device.edit_candidate(B, edit(&config))), "in-use");
    assert_eq!(tag(device.discard_changes(B)), "in-use");
    assert_eq!(tag(device.copy_to_candidate(B, Source::Config(&config))), "in-use");
    assert_eq!(tag(device.plan_commit(B, &Commit::default(), now)), "in-use");
    assert_eq!(tag(device.unlock(B, Datastore::Candidate)), "operation-failed");
    device.get_config(Datastore::Candidate, None).unwrap();
    device.edit_candidate(A, edit(&config)).unwrap();
    device.close_session(A);
    assert!(!device.candidate_is_changed(), "changes go with the lock");
    device.edit_candidate(B, edit(&config)).unwrap();
    commit(&mut device, B, &Commit::default(), now);

    device.lock(B, Datastore::Running).unwrap();
    let c = session(3);
    device.open_session(c);
    set_mtu(&mut device, c, 1501);
    assert_eq!(tag(device.plan_commit(c, &Commit::default(), now)), "in-use");
    assert!(device.plan_edit_running(c, edit(&config)).0.is_none());
    device.unlock(B, Datastore::Running).unwrap();
    commit(&mut device, c, &Commit::default(), now);
    assert_mtu(&device, "1501");
}

#[test]
fn unlock_of_the_candidate_discards() {
    let (mut device, _) = at_1500();
    device.lock(A, Datastore::Candidate).unwrap();
    set_mtu(&mut device, A, 1600);
    device.unlock(A, Datastore::Candidate).unwrap();
    assert!(!device.candidate_is_changed());
    assert_eq!(tag(device.unlock(A, Datastore::Candidate)), "operation-failed");
}

#[test]
fn changes_without_lock_outlive_their_session() {
    let (mut device, _) = at_1500();
    set_mtu(&mut device, A, 1600);
    device.close_session(A);
    assert!(device.candidate_is_changed());
}

#[test]
fn a_commit_of_what_is_there_changes_nothing() {
    let (mut device, now) = at_1500();
    set_mtu(&mut device, A, 1500);
    let transition = device.plan_commit(A, &Commit::default(), now).unwrap();
    assert_eq!(transition.changes, []);
    device.apply(transition);
}

#[test]
fn copies_between_datastores() {
    let (mut device, now) = at_1500();
    set_mtu(&mut device, A, 1600);
    device.copy_to_candidate(A, Source::Datastore(Datastore::Running)).unwrap();
    assert!(!device.candidate_is_changed());
    let whole = interfaces("<interface><name>only</name></interface>");
    device.copy_to_candidate(A, Source::Config(&whole)).unwrap();
    commit(&mut device, A, &Commit::default(), now);
    assert_eq!(device.running().len(), 1);
    set_mtu(&mut device, A, 1600);
    let copy = device.plan_copy_to_running(A, Source::Datastore(Datastore::Candidate)).unwrap();
    device.apply(copy);
    assert_mtu(&device, "1600");
    assert!(!device.candidate_is_changed());
    assert_eq!(tag(device.plan_copy_to_running(A, Source::Datastore(Datastore::Running))), "invalid-value");
}

#[test]
fn the_candidate_follows_running_where_it_isnt_changed() {
    let (mut device, now) = provisional(Some("t"));
    let description = interfaces("<interface><name>ge-0</name><description>new</description></interface>");
    device.edit_candidate(A, edit(&description)).unwrap();
    device.apply(device.plan_expiry(now + Duration::from_secs(60)).unwrap());
    let candidate = device.get_config(Datastore::Candidate, None).unwrap().to_xml();
    assert!(candidate.contains("<mtu>1500</mtu>") && candidate.contains("<description>new</description>"));
}

#[test]
fn the_candidate_is_unchanged_once_running_has_come_to_say_the_same() {
    let (mut device, now) = provisional(Some("t"));
    set_mtu(&mut device, B, 1500);
    assert!(device.candidate_is_changed());
    device.apply(device.plan_expiry(now + Duration::from_secs(60)).unwrap());
    assert!(!device.candidate_is_changed());
    device.lock(A, Datastore::Candidate).unwrap();
}
