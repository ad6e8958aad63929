//! Failures before the decision: in force nowhere, and the report says why.

use std::time::Duration;

use turnup_core::{
    failure::FailureClass,
    lifecycle::{DeploymentEvent, OrderEvent},
    message::{InForce, StateChange},
    name::CredentialRef,
    settle::order_event,
};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, Lie, PhantomLock, Refusal};
use turnup_netconf::message::ErrorTag;

use super::lab::*;

fn faulty(faults: Vec<Fault>) -> Behaviour {
    Behaviour { faults, ..Behaviour::default() }
}

fn refuse(tag: ErrorTag) -> Act {
    Act::Refuse(Refusal::new(tag))
}

/// Runs a deployment to two devices of which the second behaves like this; it must end in force nowhere.
async fn fails(behaviour: Behaviour) -> (Lab, StateChange) {
    let lab = Lab::start(2).await;
    lab.behave(2, behaviour).await;
    let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
    assert_eq!(in_force(&report), [InForce::Old, InForce::Old], "{report:?}");
    lab.assert_all(&[1, 2], None);
    (lab, report)
}

fn assert_culprit(report: &StateChange, class: FailureClass, step: &str) {
    assert_eq!(classes(report, 1), [class], "{report:?}");
    assert_eq!(report.devices[1].failures[0].phase, step, "{report:?}");
    assert_eq!(classes(report, 0), [FailureClass::Undone]);
    assert!(report.devices[0].failures[0].message.contains("sim-lab-2"), "{report:?}");
    assert_eq!(report.orders[0].failures.len(), 1);
    assert_eq!(report.orders[0].failures[0].device.as_ref().unwrap().as_str(), "sim-lab-2");
    let (event, order) = match class {
        FailureClass::Invalid => (DeploymentEvent::Rejected, OrderEvent::Invalid),
        _ => (DeploymentEvent::RolledBack, OrderEvent::Failed),
    };
    assert_eq!(report.event, event);
    assert_eq!(order_event(&report.orders[0].failures), order);
}

#[tokio::test]
async fn the_devices_own_refusal_of_a_value_makes_the_order_invalid() {
    let lab = Lab::start(2).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.devices[1].edits = vec![edit(deployment.orders[0], &"x".repeat(300))];
    let report = lab.deploy(&deployment).await;
    assert_culprit(&report, FailureClass::Invalid, "edit-config");
    assert!(
        report.orders[0].failures[0].path.as_ref().is_some_and(|path| path.contains("description")),
        "{report:?}"
    );
    lab.assert_all(&[1, 2], None);
    assert!(lab.simulator.journal().unwrap().is_empty(), "no device committed anything");
    assert_eq!(lab.shared.pool.len(), 2, "a refusal costs no session");
}

#[tokio::test]
async fn refused_at_the_commit_when_the_other_had_committed() {
    let refusal =
        Refusal { app_tag: Some("must-violation".to_owned()), ..Refusal::new(ErrorTag::OperationFailed) };
    let fault = Fault::before("confirmed-commit", Act::Refuse(refusal));
    let (lab, report) = fails(faulty(vec![fault])).await;
    assert_culprit(&report, FailureClass::Invalid, "commit");
    // The first had committed, and took it back.
    assert_eq!(lab.simulator.journal().unwrap().len(), 2);
}

#[tokio::test]
async fn rights_are_no_matter_of_content() {
    let (_, report) = fails(faulty(vec![Fault::before("edit-config", refuse(ErrorTag::AccessDenied))])).await;
    assert_culprit(&report, FailureClass::Distrusted, "edit-config");
}

#[tokio::test]
async fn a_lock_held_by_someone_is_named() {
    let (_, report) =
        fails(Behaviour { phantom_lock: Some(PhantomLock::default()), ..Behaviour::default() }).await;
    let failure = &report.orders[0].failures[0];
    assert_eq!(failure.class, FailureClass::Busy);
    assert!(failure.message.contains("session 4711"), "{failure:?}");
    assert_eq!(failure.phase, "lock");
}

#[tokio::test]
async fn a_candidate_locked_by_someone_is_not_edited() {
    let lock = PhantomLock { running: false, ..PhantomLock::default() };
    let (_, report) = fails(Behaviour { phantom_lock: Some(lock), ..Behaviour::default() }).await;
    assert_culprit(&report, FailureClass::Busy, "lock");
}

#[tokio::test]
async fn a_device_that_is_down_is_tried_so_often() {
    let (_, report) = fails(Behaviour { down: true, ..Behaviour::default() }).await;
    assert_culprit(&report, FailureClass::Unreachable, "connect");
    assert_eq!(steps(&report, 1), ["connect"; 3]);
}

#[tokio::test]
async fn a_device_that_comes_back_in_time_is_no_failure() {
    let lab = Lab::start(2).await;
    lab.behave(2, Behaviour { down: true, ..Behaviour::default() }).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.tries = 20;
    let up = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        lab.behave(2, Behaviour::default()).await;
    };
    let (report, ()) = futures_util::future::join(lab.deploy(&deployment), up).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    lab.assert_all(&[1, 2], Some("one"));
}

#[tokio::test]
async fn another_host_key_is_met_with_nothing_and_no_second_try() {
    let (_, report) = fails(Behaviour { wrong_host_key: true, ..Behaviour::default() }).await;
    assert_culprit(&report, FailureClass::Distrusted, "connect");
    assert_eq!(steps(&report, 1), ["connect"]);
}

#[tokio::test]
async fn a_refused_login_is_not_repeated() {
    let (_, report) = fails(Behaviour { refuse_authentication: true, ..Behaviour::default() }).await;
    assert_culprit(&report, FailureClass::Distrusted, "connect");
    assert_eq!(steps(&report, 1), ["connect"]);
}

#[tokio::test]
async fn no_pinned_key_no_credential_unknown_credential() {
    let lab = Lab::start(1).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.devices[0].host_key = None;
    assert_eq!(classes(&lab.deploy(&deployment).await, 0), [FailureClass::Distrusted]);
    let mut deployment = lab.deployment(&[1], "one");
    deployment.devices[0].credential = None;
    assert_eq!(classes(&lab.deploy(&deployment).await, 0), [FailureClass::Misconfigured]);
    deployment.devices[0].credential = Some(CredentialRef::new("other").unwrap());
    let report = lab.deploy(&deployment).await;
    assert!(report.orders[0].failures[0].message.contains("[credentials.other]"), "{report:?}");
    deployment.devices[0].host_key = Some("ssh-rsa rubbish".to_owned());
    assert_eq!(classes(&lab.deploy(&deployment).await, 0), [FailureClass::Misconfigured]);
}

#[tokio::test]
async fn a_device_that_says_ok_and_does_nothing_is_found_out() {
    let lie = Some(Lie::CommitChangesNothing);
    let (_, report) = fails(Behaviour { lie, ..Behaviour::default() }).await;
    assert_culprit(&report, FailureClass::BrokenPeer, "check");
    assert!(report.orders[0].failures[0].message.contains("/interfaces is missing"), "{report:?}");
}

#[tokio::test]
async fn no_confirming_with_less_than_half_of_the_timer_left() {
    let lab = Lab::start(2).await;
    lab.behave(2, Behaviour { commit_delay_ms: 1_300, ..Behaviour::default() }).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.confirm_timeout_s = 2;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    assert!(report.orders[0].failures[0].message.contains("confirm_timeout_s"));
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn when_the_time_is_up_it_goes_back() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { rpc_delay_ms: 400, ..Behaviour::default() }).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.limits.total_timeout_ms = 2_000;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    lab.assert_all(&[1], None);
}

#[tokio::test]
async fn garbage_is_a_broken_peer() {
    let (_, report) = fails(faulty(vec![Fault::before("edit-config", Act::Garbage)])).await;
    assert_culprit(&report, FailureClass::BrokenPeer, "edit-config");
}

#[tokio::test]
async fn what_was_there_before_is_there_again() {
    let lab = Lab::start(2).await;
    lab.deploy(&lab.deployment(&[1, 2], "one")).await;
    // "before" doesn't hold, as nobody knew of the configuration that is there.
    lab.behave(2, faulty(vec![Fault::before("confirmed-commit", refuse(ErrorTag::InvalidValue))])).await;
    let report = lab.deploy(&lab.deployment(&[1, 2], "two")).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:?}");
    lab.assert_all(&[1, 2], Some("one"));
}
