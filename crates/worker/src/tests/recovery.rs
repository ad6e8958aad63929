//! Redelivered: another worker had it and died at any point.

use turnup_core::{
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::{Deployment, InForce, StateChange},
};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, Refusal};
use turnup_netconf::{
    message::ErrorTag,
    operation::{Datastore, EditConfig, Operation},
};

use super::lab::*;

async fn recovered(stages: [Option<Stage>; 2]) -> (Lab, StateChange) {
    let lab = Lab::start(2).await;
    let deployment = lab.deployment(&[1, 2], "one");
    for (at, stage) in stages.into_iter().enumerate() {
        if let Some(stage) = stage {
            lab.leave(at + 1, &deployment, stage).await;
        }
    }
    let report = lab.recover(&deployment).await;
    assert_eq!(report.attempt, 2, "as the attempt that the scheduler gave");
    (lab, report)
}

#[tokio::test]
async fn whatever_was_left_it_is_in_force_everywhere_in_the_end() {
    use Stage::{Committed, Confirmed, Prepared};
    let stages = [
        [None, None],
        [Some(Prepared), None],
        [Some(Prepared), Some(Prepared)],
        [Some(Committed), Some(Prepared)],
        [Some(Committed), Some(Committed)],
        [Some(Confirmed), Some(Committed)],
        [Some(Confirmed), None],
    ];
    for stages in stages {
        let (lab, report) = recovered(stages).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{stages:?} {report:?}");
        lab.assert_all(&[1, 2], Some("one"));
    }
}

#[tokio::test]
async fn what_is_in_force_everywhere_is_not_touched_again() {
    let (lab, report) = recovered([Some(Stage::Confirmed), Some(Stage::Confirmed)]).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert_eq!(report.phase, "recover");
    // A provisional commit and its confirmation each, and nothing after that.
    let changes = lab.simulator.journal().unwrap().iter().filter(|record| !record.changes.is_empty()).count();
    assert_eq!(changes, 2);
    lab.assert_all(&[1, 2], Some("one"));
}

#[tokio::test]
async fn if_it_fails_now_what_the_dead_worker_had_confirmed_is_taken_back() {
    let lab = Lab::start(2).await;
    let deployment = lab.deployment(&[1, 2], "one");
    lab.leave(1, &deployment, Stage::Confirmed).await;
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    let faults = vec![Fault::before("edit-config", refuse)];
    lab.behave(2, Behaviour { faults, ..Behaviour::default() }).await;
    let report = lab.recover(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:?}");
    assert_eq!(in_force(&report), [InForce::Old; 2]);
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn a_device_that_can_not_be_asked_is_not_known() {
    let lab = Lab::start(2).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.total_timeout_ms = 4_000;
    lab.leave(1, &deployment, Stage::Confirmed).await;
    lab.behave(2, Behaviour { down: true, ..Behaviour::default() }).await;
    let report = lab.recover(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::GivenUp, "{report:?}");
    assert_eq!(in_force(&report), [InForce::New, InForce::Unknown]);
    assert_eq!(lab.told.events()[0], DeploymentEvent::Doubted);
}

/// The second device refuses, and the first has what an earlier deployment left there, which ended in doubt.
async fn after_one_in_doubt(past_unknown: bool) -> (Lab, StateChange) {
    let lab = Lab::start(2).await;
    lab.leave(1, &lab.deployment(&[1, 2], "one"), Stage::Confirmed).await;
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    let faults = vec![Fault::before("edit-config", refuse)];
    lab.behave(2, Behaviour { faults, ..Behaviour::default() }).await;
    let deployment = Deployment { past_unknown, ..lab.deployment(&[1, 2], "one") };
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:?}");
    assert_eq!((report.attempt, in_force(&report)), (1, vec![InForce::Old; 2]));
    (lab, report)
}

#[tokio::test]
async fn what_an_earlier_deployment_left_in_doubt_is_not_what_was_before() {
    let (lab, _) = after_one_in_doubt(true).await;
    lab.assert_all(&[1, 2], None);
    // Who says that all is known has found it there.
    let (lab, _) = after_one_in_doubt(false).await;
    assert_eq!(lab.value(1).as_deref(), Some("one"));
}

#[tokio::test]
async fn what_an_earlier_deployment_has_finished_is_written_again() {
    let lab = Lab::start(2).await;
    let left = lab.deployment(&[1, 2], "one");
    for device in [1, 2] {
        lab.leave(device, &left, Stage::Confirmed).await;
    }
    let deployment = Deployment { past_unknown: true, ..lab.deployment(&[1, 2], "one") };
    let report = lab.deploy(&deployment).await;
    assert_eq!((report.event, report.phase.as_str()), (DeploymentEvent::Committed, "confirm"), "{report:?}");
    lab.assert_all(&[1, 2], Some("one"));
}

#[tokio::test]
async fn where_not_all_can_say_what_an_earlier_deployment_has_left_it_stays() {
    let lab = Lab::start(2).await;
    lab.leave(1, &lab.deployment(&[1, 2], "one"), Stage::Confirmed).await;
    lab.behave(2, Behaviour { down: true, ..Behaviour::default() }).await;
    let mut deployment = Deployment { past_unknown: true, ..lab.deployment(&[1, 2], "one") };
    deployment.limits.tries = 1;
    let report = lab.deploy(&deployment).await;
    // It may be in force on both, and this one has done nothing: it may be tried again.
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    assert_eq!(in_force(&report), [InForce::Old; 2]);
    assert_eq!(classes(&report, 1), [FailureClass::Unreachable]);
    assert_eq!(lab.value(1).as_deref(), Some("one"));
    assert!(lab.told.events().is_empty(), "nothing of it is in doubt");
}

#[tokio::test]
async fn nobodys_edit_is_thrown_away_for_an_unknown_past() {
    let lab = Lab::start(1).await;
    let mut other = lab.open(1).await;
    let edit = lab.deployment(&[1], "by hand").devices.remove(0).edits.remove(0).edit;
    let config = crate::work::parse(&edit).unwrap();
    ask(&mut other, Operation::edit_config(EditConfig::new(Datastore::Candidate, config.into_children())))
        .await;
    let deployment = Deployment { past_unknown: true, ..lab.deployment(&[1], "one") };
    let report = lab.deploy(&deployment).await;
    assert_eq!(classes(&report, 0), [FailureClass::Busy], "{report:?}");
    assert!(lab.device(1).candidate_is_changed());
}

#[tokio::test]
async fn what_goes_back_to_another_deployments_leavings_goes_further_back() {
    let lab = Lab::start(1).await;
    lab.leave(1, &lab.deployment(&[1], "left"), Stage::Confirmed).await;
    // Not confirmed before its timer has taken it back.
    let faults = (1..=3).map(|n| Fault::before("confirming-commit", Act::Drop).at(n)).collect();
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let mut deployment = Deployment { past_unknown: true, ..lab.deployment(&[1], "one") };
    deployment.limits.confirm_timeout_s = 2;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    assert_eq!(in_force(&report), [InForce::Old]);
    lab.assert_all(&[1], None);
}
