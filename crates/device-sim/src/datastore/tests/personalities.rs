//! What each personality does otherwise than the default.

use turnup_netconf::message::ErrorType;

use super::commits::{assert_mtu, at_1500_as, confirmed, with_id};
use super::*;
use crate::personality::{Personality, Spelling};

/// A device of this personality with 9000 by a confirmed commit of A with token `t` and 60 s, 1500 before. The test
/// does what `before` says in between, such as taking locks.
fn provisional_as(personality: Personality, before: impl FnOnce(&mut Datastores)) -> (Datastores, Instant) {
    let (mut device, now) = at_1500_as(personality);
    before(&mut device);
    set_mtu(&mut device, A, 9000);
    assert_eq!(commit(&mut device, A, &confirmed(60, Some("t"), None), now), Kind::Provisional);
    (device, now)
}

fn after(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets the next timer fire.
fn expire(device: &mut Datastores, now: Instant) -> Kind {
    let transition = device.plan_expiry(now).unwrap();
    let kind = transition.kind;
    device.apply(transition);
    kind
}

/// Puts a pseudowire into the candidate whose interface does not exist.
fn break_candidate(device: &mut Datastores, session: SessionId) {
    let config = config(
        "<pseudowires xmlns='urn:turnup:sim'><pseudowire><name>p</name><vc-id>1</vc-id><peer>x</peer>\
         <interface>none</interface><unit>0</unit></pseudowire></pseudowires>",
    );
    let edit = Edit { test_option: TestOption::Set, ..edit(&config) };
    device.edit_candidate(session, edit).unwrap();
}

/// A device whose confirmed commit with token `t` and 60 s was refused.
fn refused_as(personality: Personality) -> (Datastores, Instant) {
    let (mut device, now) = at_1500_as(personality);
    break_candidate(&mut device, A);
    let commit = confirmed(60, Some("t"), None);
    assert_eq!(tag(device.plan_commit(A, &commit, now)), "operation-failed");
    if let Some(left) = device.plan_refused_commit(A, &commit, now) {
        assert_eq!((left.kind, &left.changes[..]), (Kind::Armed, &[][..]));
        device.apply(left);
    }
    device.discard_changes(A).unwrap();
    (device, now)
}

#[test]
fn names_are_unique_and_found() {
    for personality in Personality::ALL {
        assert_eq!(Personality::named(personality.name), Some(personality));
    }
    assert_eq!(Personality::named("Clixon"), None);
}

#[test]
fn refused_confirmed_commit_leaves_nothing_by_default() {
    let (device, _) = refused_as(Personality::DEFAULT);
    assert!(device.holds().is_nothing());
}

#[test]
fn refused_confirmed_commit_stays_armed_until_cancelled() {
    for personality in [Personality::NETOPEER2, Personality::CLIXON] {
        let (mut device, now) = refused_as(personality);
        assert_eq!(device.holds().pending.as_deref(), Some("t"), "{}", personality.name);
        assert_eq!(device.holds().armed, ["t"], "{}", personality.name);
        assert!(device.plan_cancel(A, Some("u")).is_err());
        let cancel = device.plan_cancel(B, Some("t")).unwrap();
        device.apply(cancel);
        assert!(device.holds().is_nothing() && device.plan_expiry(now + after(1000)).is_none());
        assert_mtu(&device, "1500");
    }
}

#[test]
fn netopeer2_denies_all_work_while_a_refused_commit_is_armed() {
    let (mut device, now) = refused_as(Personality::NETOPEER2);
    let denied = device.lock(B, Datastore::Running).unwrap_err();
    assert_eq!(denied[0].tag, ErrorTag::LockDenied);
    assert_eq!(denied[0].message.as_deref(), Some("There is an ongoing confirmed commit."));
    set_mtu(&mut device, B, 1600);
    assert_eq!(tag(device.plan_commit(B, &Commit::default(), now)), "invalid-value");
    assert_eq!(tag(device.plan_commit(B, &confirmed(60, Some("u"), None), now)), "invalid-value");
    assert_eq!(expire(&mut device, now + after(60)), Kind::TimedOut);
    device.lock(B, Datastore::Running).unwrap();
}

#[test]
fn netopeer2_timer_forgets_the_rollback_while_running_is_locked() {
    let lock = |d: &mut Datastores| d.lock(A, Datastore::Running).unwrap();
    let (mut device, now) = provisional_as(Personality::NETOPEER2, lock);
    assert_eq!(expire(&mut device, now + after(60)), Kind::Forgotten);
    assert_mtu(&device, "9000");
    assert_eq!((device.holds().pending, device.holds().armed.len()), (None, 0));

    // With only the candidate locked, or the connection gone, it rolls back.
    let lock = |d: &mut Datastores| d.lock(A, Datastore::Candidate).unwrap();
    let (mut device, now) = provisional_as(Personality::NETOPEER2, lock);
    assert_eq!(expire(&mut device, now + after(60)), Kind::TimedOut);
    assert_mtu(&device, "1500");
    let lock = |d: &mut Datastores| d.lock(A, Datastore::Running).unwrap();
    let (mut device, now) = provisional_as(Personality::NETOPEER2, lock);
    device.close_session(A);
    assert_eq!(expire(&mut device, now + after(60)), Kind::TimedOut);
    assert_mtu(&device, "1500");
}

#[test]
fn netopeer2_extends_with_the_same_persist_only() {
    let (mut device, now) = provisional_as(Personality::NETOPEER2, |_| ());
    let later = now + after(50);
    assert_eq!(tag(device.plan_commit(A, &confirmed(60, None, Some("t")), later)), "invalid-value");
    assert_eq!(tag(device.plan_commit(A, &confirmed(60, Some("t"), Some("t")), later)), "invalid-value");
    assert_eq!(tag(device.plan_commit(A, &confirmed(60, Some("u"), None), later)), "invalid-value");
    commit(&mut device, B, &confirmed(60, Some("t"), None), later);
    assert!(device.plan_expiry(now + after(61)).is_none());
    assert_eq!(expire(&mut device, later + after(60)), Kind::TimedOut);
    assert_mtu(&device, "1500");
}

#[test]
fn netopeer2_refuses_locks_in_its_own_words() {
    let (mut device, _) = at_1500_as(Personality::NETOPEER2);
    set_mtu(&mut device, A, 1600);
    let errors = device.lock(A, Datastore::Candidate).unwrap_err();
    assert_eq!(errors.len(), 2);
    assert!(
        errors.iter().all(|error| error.tag == ErrorTag::OperationFailed && error.session_id().is_none())
    );
    let (mut device, _) = provisional_as(Personality::NETOPEER2, |_| ());
    assert_eq!(tag(device.lock(A, Datastore::Running)), "lock-denied");
}

#[test]
fn clixon_commit_without_its_persist_id_empties_running_later() {
    for stray in [Commit::default(), with_id("wrong")] {
        let (mut device, now) = provisional_as(Personality::CLIXON, |_| ());
        set_mtu(&mut device, B, 1600);
        assert_eq!(commit(&mut device, B, &stray, now), Kind::Committed);
        assert_mtu(&device, "1600");
        assert_eq!(device.holds().armed, ["t"]);
        assert_eq!(expire(&mut device, now + after(60)), Kind::TimedOut);
        assert!(device.running().is_empty());
    }
}

#[test]
fn clixon_extends_with_persist_id_alone() {
    let (mut device, now) = provisional_as(Personality::CLIXON, |_| ());
    let later = now + after(50);
    commit(&mut device, A, &confirmed(60, None, Some("t")), later);
    assert_eq!(device.holds().armed.len(), 1);
    assert_eq!(expire(&mut device, later + after(60)), Kind::TimedOut);
    assert_mtu(&device, "1500");
}

#[test]
fn clixon_second_confirmed_commit_arms_a_second_timer() {
    let (mut device, now) = provisional_as(Personality::CLIXON, |_| ());
    commit(&mut device, A, &confirmed(90, Some("t"), None), now);
    assert_eq!(device.holds().armed, ["t", "t"]);
    assert_eq!(commit(&mut device, A, &with_id("t"), now), Kind::Confirmed);
    assert_mtu(&device, "9000");
    // Confirming has prevented one of them and deleted what the other goes back to.
    assert_eq!(expire(&mut device, now + after(90)), Kind::TimedOut);
    assert!(device.running().is_empty());
    assert!(device.plan_expiry(now + after(1000)).is_none());
}

#[test]
fn clixon_empties_running_after_a_refused_commit_and_a_good_one() {
    let (mut device, now) = refused_as(Personality::CLIXON);
    set_mtu(&mut device, B, 1700);
    commit(&mut device, B, &confirmed(30, Some("u"), None), now);
    commit(&mut device, B, &with_id("u"), now);
    assert_mtu(&device, "1700");
    expire(&mut device, now + after(60));
    assert!(device.running().is_empty());
}

#[test]
fn clixon_late_confirming_commit_publishes_the_change_again() {
    let (mut device, now) = provisional_as(Personality::CLIXON, |_| ());
    expire(&mut device, now + after(60));
    assert_mtu(&device, "1500");
    assert_eq!(commit(&mut device, A, &with_id("t"), now + after(61)), Kind::Committed);
    assert_mtu(&device, "9000");
    // With nothing pending, any token is good.
    assert_eq!(commit(&mut device, B, &with_id("whatever"), now), Kind::Committed);
}

#[test]
fn clixon_candidate_keeps_the_change_that_went_back() {
    let (mut device, now) = provisional_as(Personality::CLIXON, |_| ());
    let cancel = device.plan_cancel(A, Some("t")).unwrap();
    device.apply(cancel);
    assert_mtu(&device, "1500");
    device.lock(A, Datastore::Candidate).unwrap();
    let config = interfaces("<interface><name>ge-0</name><description>new</description></interface>");
    device.edit_candidate(A, edit(&config)).unwrap();
    commit(&mut device, A, &Commit::default(), now);
    assert_mtu(&device, "9000");
}

#[test]
fn clixon_edits_survive_unlock_and_session() {
    let (mut device, _) = at_1500_as(Personality::CLIXON);
    device.lock(A, Datastore::Candidate).unwrap();
    set_mtu(&mut device, A, 1600);
    device.unlock(A, Datastore::Candidate).unwrap();
    device.close_session(A);
    assert!(device.candidate_is_changed());
    let denied = device.lock(B, Datastore::Candidate).unwrap_err();
    assert_eq!((&denied[0].tag, denied[0].session_id()), (&ErrorTag::LockDenied, Some(0)));
    device.discard_changes(B).unwrap();
    device.lock(B, Datastore::Candidate).unwrap();
}

#[test]
fn clixon_confirming_commit_leaves_later_edits_in_the_candidate() {
    let (mut device, now) = provisional_as(Personality::CLIXON, |_| ());
    set_mtu(&mut device, A, 1700);
    assert_eq!(commit(&mut device, A, &with_id("t"), now), Kind::Confirmed);
    assert_mtu(&device, "9000");
    assert!(device.candidate_is_changed());
}

#[test]
fn clixon_checks_values_at_validate_and_keeps_their_spelling() {
    let (mut device, now) = at_1500_as(Personality::CLIXON);
    let bad = interfaces("<interface><name>ge-0</name><mtu>99999</mtu></interface>");
    device.edit_candidate(A, edit(&bad)).unwrap();
    assert_eq!(tag(device.validate(Source::Datastore(Datastore::Candidate))), "invalid-value");
    assert_eq!(tag(device.plan_commit(A, &Commit::default(), now)), "invalid-value");
    device.discard_changes(A).unwrap();
    let odd = interfaces("<interface><name>ge-0</name><mtu>01600</mtu></interface>");
    device.edit_candidate(A, edit(&odd)).unwrap();
    commit(&mut device, A, &Commit::default(), now);
    assert_mtu(&device, "01600");
    let yuma = Personality { spelling: Spelling::CanonicalNumbers, ..Personality::DEFAULT };
    let (mut device, now) = at_1500_as(yuma);
    device.edit_candidate(A, edit(&odd)).unwrap();
    commit(&mut device, A, &Commit::default(), now);
    assert_mtu(&device, "1600");
}

#[test]
fn clixon_lock_of_running_is_granted_while_a_persistent_commit_is_pending() {
    let (mut device, _) = provisional_as(Personality::CLIXON, |_| ());
    device.lock(B, Datastore::Running).unwrap();
}

#[test]
fn yuma_cancel_under_its_own_lock_answers_ok_and_does_nothing() {
    let lock = |d: &mut Datastores| d.lock(A, Datastore::Running).unwrap();
    let (mut device, now) = provisional_as(Personality::YUMA, lock);
    assert_eq!(tag(device.plan_cancel(B, Some("t"))), "in-use");
    let cancel = device.plan_cancel(A, Some("t")).unwrap();
    assert_eq!((cancel.kind, cancel.persist.as_deref()), (Kind::Forgotten, Some("t")));
    device.apply(cancel);
    assert_mtu(&device, "9000");
    assert!(device.plan_expiry(now + after(1000)).is_none(), "the change stays for good");
    assert_eq!(tag(device.plan_cancel(A, Some("t"))), "operation-failed");
    assert_eq!(tag(device.plan_commit(A, &with_id("t"), now)), "operation-failed");
}

#[test]
fn yuma_timer_under_lock_forgets_and_cancel_without_lock_rolls_back() {
    let lock = |d: &mut Datastores| d.lock(A, Datastore::Running).unwrap();
    let (mut device, now) = provisional_as(Personality::YUMA, lock);
    assert_eq!(expire(&mut device, now + after(60)), Kind::Forgotten);
    assert_mtu(&device, "9000");
    let lock = |d: &mut Datastores| d.lock(A, Datastore::Candidate).unwrap();
    let (mut device, _) = provisional_as(Personality::YUMA, lock);
    let cancel = device.plan_cancel(A, Some("t")).unwrap();
    device.apply(cancel);
    assert_mtu(&device, "1500");
}

#[test]
fn yuma_timer_waits_until_no_request_comes() {
    let (mut device, now) = provisional_as(Personality::YUMA, |_| ());
    let due = now + after(60);
    device.note_request(due - Duration::from_millis(400));
    assert!(device.plan_expiry(due).is_none());
    assert_eq!(device.rollback_due(), Some(due + Duration::from_millis(600)));
    device.note_request(due + Duration::from_millis(500));
    assert!(device.plan_expiry(due + Duration::from_millis(600)).is_none());
    assert_eq!(expire(&mut device, due + Duration::from_millis(1500)), Kind::TimedOut);
}

#[test]
fn yuma_validate_makes_the_next_commit_change_nothing() {
    let (mut device, now) = at_1500_as(Personality::YUMA);
    set_mtu(&mut device, A, 1600);
    device.validate(Source::Datastore(Datastore::Candidate)).unwrap();
    commit(&mut device, A, &Commit::default(), now);
    assert_mtu(&device, "1500");
    assert!(!device.candidate_is_changed());
}

#[test]
fn yuma_refuses_both_locks_while_a_commit_is_pending() {
    let (mut device, now) = provisional_as(Personality::YUMA, |_| ());
    for datastore in [Datastore::Running, Datastore::Candidate] {
        let denied = device.lock(A, datastore).unwrap_err();
        assert_eq!(denied[0].tag, ErrorTag::InUse);
        assert_eq!(denied[0].app_tag.as_deref(), Some("outstanding-confirmed-commit"));
    }
    assert_eq!(tag(device.plan_commit(A, &confirmed(60, Some("t"), None), now)), "operation-failed");
    assert_eq!(tag(device.plan_commit(B, &Commit::default(), now)), "in-use");
    assert_eq!(commit(&mut device, A, &Commit::default(), now), Kind::Confirmed);
    set_mtu(&mut device, A, 1600);
    assert_eq!(tag(device.lock(B, Datastore::Candidate)), "resource-denied");
}

#[test]
fn junos_locks_the_candidate_only() {
    let (mut device, _) = at_1500_as(Personality::JUNOS);
    let refused = device.lock(A, Datastore::Running).unwrap_err();
    assert_eq!((refused[0].error_type, refused[0].message.as_deref()), (None, Some("syntax error")));
    device.lock(A, Datastore::Candidate).unwrap();
    assert_eq!(tag(device.lock(B, Datastore::Candidate)), "lock-denied");
    device.unlock(A, Datastore::Candidate).unwrap();
}

#[test]
fn junos_confirms_with_any_commit_and_outlives_the_session() {
    let (mut device, now) = at_1500_as(Personality::JUNOS);
    set_mtu(&mut device, A, 9000);
    commit(&mut device, A, &confirmed(61, None, None), now);
    assert!(device.plan_session_end(A).is_none());
    device.close_session(A);
    assert!(device.plan_expiry(now + after(119)).is_none(), "two whole minutes");
    let confirm = device.plan_commit(B, &Commit::default(), now).unwrap();
    assert_eq!(confirm.kind, Kind::Confirmed);
    assert_eq!(expire(&mut device, now + after(120)), Kind::TimedOut);
    assert_mtu(&device, "1500");
}

#[test]
fn nokia_denies_the_second_lock_with_the_session_itself() {
    for (first, second) in
        [(Datastore::Running, Datastore::Candidate), (Datastore::Candidate, Datastore::Running)]
    {
        let (mut device, _) = at_1500_as(Personality::NOKIA_SROS);
        device.lock(A, first).unwrap();
        for session in [A, B] {
            let denied = device.lock(session, second).unwrap_err();
            assert_eq!((&denied[0].tag, denied[0].session_id()), (&ErrorTag::LockDenied, Some(A.number)));
        }
        device.unlock(A, first).unwrap();
        device.lock(B, second).unwrap();
    }
}

#[test]
fn errors_of_the_datastores_have_the_types_of_the_rfc() {
    let (mut device, _) = at_1500_as(Personality::NETOPEER2);
    set_mtu(&mut device, A, 1600);
    let errors = device.lock(A, Datastore::Candidate).unwrap_err();
    assert_eq!(errors[0].error_type, Some(ErrorType::Application));
}
