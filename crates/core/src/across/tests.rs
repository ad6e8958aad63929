//! The decision over all small combinations, and a network of devices with timers, crashing workers and
//! every answer they can give: never a mixture, never an end that isn't so.

use DeploymentState as S;

use super::*;
use crate::{message::InForce, name::DeviceName};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn part(stage: Stage, state: DeploymentState) -> PartState {
    PartState { stage, state, confirm_by: (state == S::Prepared).then(|| later(1)) }
}

#[test]
fn nothing_is_decided_before_all_have_answered() {
    for stage in Stage::ALL {
        for state in DeploymentState::ALL {
            for other in [S::Pending, S::Running, S::InDoubt] {
                let parts = [part(*stage, *state), part(*stage, other)];
                assert_eq!(decide(&parts, now()), Decision::Wait, "{parts:?}");
            }
        }
    }
}

#[test]
fn confirmed_only_if_all_are_prepared_and_in_time() {
    let prepared = part(Stage::Prepare, S::Prepared);
    assert_eq!(decide(&[prepared, prepared, prepared], now()), Decision::Confirm);
    let late = PartState { confirm_by: Some(now()), ..prepared };
    assert_eq!(decide(&[prepared, late], now()), Decision::Undo(vec![0, 1]));
    for state in [S::RolledBack, S::Rejected, S::Unresolved] {
        let parts = [part(Stage::Prepare, state), prepared];
        assert_eq!(decide(&parts, now()), Decision::Undo(vec![1]), "{state}");
    }
}

#[test]
fn what_one_region_can_not_finish_is_undone_in_all() {
    let confirmed = part(Stage::Confirm, S::Confirmed);
    assert_eq!(decide(&[confirmed, confirmed], now()), Decision::End);
    let refused = part(Stage::Confirm, S::RolledBack);
    assert_eq!(decide(&[confirmed, refused], now()), Decision::Undo(vec![0]));
    let lost = part(Stage::Confirm, S::Unresolved);
    assert_eq!(decide(&[confirmed, lost], now()), Decision::Undo(vec![0, 1]));
    assert_eq!(decide(&[refused, refused], now()), Decision::End);
}

#[test]
fn undoing_and_looking_end_when_all_have_answered() {
    for state in [S::RolledBack, S::Unresolved] {
        let parts = [part(Stage::Undo, state), part(Stage::Prepare, S::Rejected)];
        assert_eq!(decide(&parts, now()), Decision::End);
    }
    assert_eq!(
        decide(&[part(Stage::Whole, S::Committed), part(Stage::Whole, S::Committed)], now()),
        Decision::End
    );
}

#[test]
fn no_stage_says_more_than_it_may() {
    use DeploymentEvent as E;
    assert_eq!(event(Stage::Confirm, E::Committed), E::Confirmed);
    for stage in [Stage::Prepare, Stage::Undo] {
        assert_eq!(event(stage, E::Committed), E::GivenUp);
        assert_eq!(event(stage, E::RolledBack), E::RolledBack);
    }
    assert_eq!(event(Stage::Prepare, E::Prepared), E::Prepared);
    assert_eq!(event(Stage::Whole, E::Committed), E::Committed);
    assert_eq!(event(Stage::Whole, E::Prepared), E::GivenUp);
}

fn device(in_force: InForce, failures: Vec<Failure>) -> DeviceReport {
    let device = DeviceName::new("d").unwrap();
    DeviceReport {
        device,
        in_force,
        steps: vec![],
        failures,
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

#[test]
fn an_order_fails_for_what_went_wrong_and_not_for_what_was_undone_with_it() {
    let undone = Failure::new(FailureClass::Undone, "undo", "undone with the others");
    let bad = Failure::new(FailureClass::Invalid, "edit-config", "mtu out of range");
    let devices = [device(InForce::Old, vec![undone.clone()]), device(InForce::Old, vec![bad.clone()])];
    assert_eq!(outcome(&devices, &[]), (DeploymentEvent::Rejected, vec![bad.clone()]));
    let (event, late) = outcome(&[device(InForce::Old, vec![undone]), device(InForce::Old, vec![])], &[]);
    assert_eq!(event, DeploymentEvent::RolledBack);
    assert!(late[0].message.contains("confirm_timeout_s"), "{late:?}");
    assert_eq!(outcome(&[device(InForce::New, vec![])], &late), (DeploymentEvent::Committed, vec![]));
    // What was decided stays, and what went wrong since comes after it.
    let down = Failure::new(FailureClass::Unreachable, "undo", "no answer");
    let devices = [device(InForce::Unknown, vec![down.clone(), bad.clone()]), device(InForce::Old, vec![])];
    let decided = [bad.clone()];
    assert_eq!(outcome(&devices, &decided), (DeploymentEvent::GivenUp, vec![bad.clone(), down]));
    // What is noted of a device that is prepared is no reason.
    assert_eq!(reasons(&[device(InForce::Provisional, vec![bad.clone()])]), late);
    assert_eq!(reasons(&[device(InForce::Old, vec![bad.clone()])]), [bad]);
}
