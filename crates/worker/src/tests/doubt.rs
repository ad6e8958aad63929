//! Commits without answer: the device is asked until it is known.

use futures_util::future::join_all;
use turnup_core::{failure::FailureClass, lifecycle::DeploymentEvent, message::InForce};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, Lie, Moment, Refusal};
use turnup_netconf::message::ErrorTag;

use super::lab::*;

fn faulty(faults: Vec<Fault>) -> Behaviour {
    Behaviour { faults, ..Behaviour::default() }
}

#[tokio::test]
async fn a_provisional_commit_without_answer_is_taken_back() {
    for moment in [Moment::Before, Moment::After] {
        let lab = Lab::start(2).await;
        let fault = Fault { moment, ..Fault::before("confirmed-commit", Act::Drop) };
        lab.behave(2, faulty(vec![fault])).await;
        let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
        assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
        // The read-back knows, so it is tried again like any device that can't be reached.
        assert_eq!(classes(&report, 1), [FailureClass::Unreachable]);
        assert_eq!(lab.told.events()[0], DeploymentEvent::Doubted, "people see it at once");
        assert_eq!(report.sequence, 2);
        lab.assert_all(&[1, 2], None);
    }
}

#[tokio::test]
async fn a_confirm_without_answer_is_found_out_and_goes_through() {
    for moment in [Moment::Before, Moment::After] {
        let lab = Lab::start(2).await;
        let fault = Fault { moment, ..Fault::before("confirming-commit", Act::Drop) };
        lab.behave(2, faulty(vec![fault])).await;
        let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
        assert_eq!(lab.told.events(), [DeploymentEvent::Doubted]);
        assert!(report.orders[0].failures.is_empty());
        lab.assert_all(&[1, 2], Some("one"));
    }
}

#[tokio::test]
async fn a_confirm_that_hangs_is_found_out_on_another_session() {
    let lab = Lab::start(2).await;
    lab.behave(2, faulty(vec![Fault::after("confirming-commit", Act::Hang)])).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.rpc_timeout_ms = 500;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    lab.assert_all(&[1, 2], Some("one"));
}

/// The second device can't be confirmed before its timer has taken the commit back.
fn confirms_too_late() -> Vec<Fault> {
    (1..=3).map(|n| Fault::before("confirming-commit", Act::Drop).at(n)).collect()
}

#[tokio::test]
async fn a_device_whose_timer_was_faster_is_pushed_forward_as_others_have_confirmed() {
    let lab = Lab::start(2).await;
    lab.behave(2, faulty(confirms_too_late())).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.confirm_timeout_s = 2;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert_eq!(report.phase, "push-forward");
    lab.assert_all(&[1, 2], Some("one"));
}

#[tokio::test]
async fn what_cannot_go_forward_everywhere_goes_back_everywhere() {
    let lab = Lab::start(3).await;
    let mut faults = confirms_too_late();
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    faults.push(Fault::before("edit-config", refuse).at(2));
    lab.behave(2, faulty(faults)).await;
    let mut deployment = lab.deployment(&[1, 2, 3], "one");
    deployment.limits.confirm_timeout_s = 2;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:?}");
    assert_eq!(in_force(&report), [InForce::Old; 3]);
    assert_eq!(report.phase, "revert");
    lab.assert_all(&[1, 2, 3], None);
}

#[tokio::test]
async fn a_device_that_commits_for_good_gets_the_inverse_edit() {
    let lab = Lab::start(2).await;
    let lie = Some(Lie::ConfirmedCommitIsFinal);
    lab.behave(1, Behaviour { lie, ..Behaviour::default() }).await;
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    lab.behave(2, faulty(vec![Fault::before("confirmed-commit", refuse)])).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.confirm_timeout_s = 1;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:?}");
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn what_cannot_be_found_out_in_time_is_not_known() {
    let lab = Lab::start(2).await;
    let drop_all = |operation: &str| Fault::before(operation, Act::Drop).at(0);
    lab.behave(2, faulty(vec![drop_all("confirming-commit"), drop_all("discard-changes")])).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.total_timeout_ms = 6_000;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::GivenUp, "{report:?}");
    assert_eq!(in_force(&report), [InForce::New, InForce::Unknown]);
    assert!(classes(&report, 1).iter().all(|class| *class == FailureClass::InDoubt));
    assert!(!report.orders[0].failures.is_empty());
}

/// Every fault at every operation, before and after: never a mixture, never a wrong word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_of_faults() {
    let operations = [
        "lock",
        "get-config",
        "edit-config",
        "confirmed-commit",
        "confirming-commit",
        "unlock",
        "cancel-commit",
    ];
    let acts = || {
        let refuse = |tag| Act::Refuse(Refusal::new(tag));
        [
            Act::Drop,
            Act::Hang,
            Act::Garbage,
            refuse(ErrorTag::OperationFailed),
            refuse(ErrorTag::InUse),
            refuse(ErrorTag::InvalidValue),
        ]
    };
    let mut cases = Vec::new();
    for operation in operations {
        for moment in [Moment::Before, Moment::After] {
            for act in acts() {
                cases.push(Fault { moment, ..Fault::before(operation, act) });
            }
        }
    }
    let lab = Lab::start(u16::try_from(cases.len() * 2).unwrap()).await;
    let lab = &lab;
    let runs = cases.iter().enumerate().map(|(i, fault)| async move {
        let (a, b) = (2 * i + 1, 2 * i + 2);
        // So that there is something to cancel.
        let also = Fault::before("confirmed-commit", Act::Refuse(Refusal::new(ErrorTag::DataExists)));
        if fault.operation == "cancel-commit" {
            lab.behave(a, faulty(vec![also])).await;
        }
        lab.behave(b, faulty(vec![fault.clone()])).await;
        let mut deployment = lab.deployment(&[a, b], "one");
        deployment.limits.rpc_timeout_ms = 1_500;
        deployment.limits.confirm_timeout_s = 10;
        let report = lab.deploy(&deployment).await;
        let values = [lab.value(a), lab.value(b)];
        let say = format!("{fault:?}: {values:?} {report:#?}");
        assert_eq!(values[0], values[1], "a mixture: {say}");
        let wanted = if values[0].is_some() { InForce::New } else { InForce::Old };
        assert_eq!(in_force(&report), [wanted; 2], "a wrong word: {say}");
        assert_eq!(report.orders[0].failures.is_empty(), wanted == InForce::New, "{say}");
        lab.assert_clean(a);
        lab.assert_clean(b);
    });
    join_all(runs.map(Box::pin)).await;
}
