//! The stages of a part of an order over several regions: prepared by one worker, decided elsewhere, carried
//! out by whichever worker has it then.

use std::time::Duration;

use turnup_core::{
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::{Deployment, Guarantee, InForce, Stage},
};
use turnup_device_sim::{
    Profile,
    behaviour::{Act, Behaviour, Fault, Moment, Refusal},
};
use turnup_netconf::message::ErrorTag;

use super::{lab::*, methods::playing};

fn refusing(operation: &str) -> Behaviour {
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    Behaviour { faults: vec![Fault::before(operation, refuse)], ..Behaviour::default() }
}

/// Two devices, prepared; their timers run for so many seconds.
async fn prepared(timer_s: u32) -> (Lab, Deployment) {
    let lab = Lab::start(2).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.confirm_timeout_s = timer_s;
    let report = lab.stage(&deployment, Stage::Prepare, false).await;
    assert_eq!(report.event, DeploymentEvent::Prepared, "{report:?}");
    assert_eq!(in_force(&report), [InForce::Provisional; 2]);
    (lab, deployment)
}

async fn until_gone_back(lab: &Lab, devices: &[usize]) {
    let gone_back = || devices.iter().all(|n| !lab.device(*n).has_pending_commit());
    let wait = async {
        while !gone_back() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

#[tokio::test]
async fn what_is_prepared_waits_without_locks_and_says_until_when() {
    let lab = Lab::start(2).await;
    let deployment = lab.deployment(&[1, 2], "one");
    let began = jiff::Timestamp::now();
    let report = lab.stage(&deployment, Stage::Prepare, false).await;
    assert_eq!((report.event, report.phase.as_str()), (DeploymentEvent::Prepared, "hold"), "{report:?}");
    let half = Duration::from_secs(10);
    let by = report.confirm_by.unwrap();
    assert!(by <= jiff::Timestamp::now() + half && by >= began + half - Duration::from_secs(5), "{by}");
    assert!(report.devices.iter().all(|device| device.guarantee == Some(Guarantee::ConfirmedCommit11)));
    assert!(report.orders.is_empty(), "nothing is decided for the order");
    for n in [1, 2] {
        assert!(lab.device(n).has_pending_commit(), "device {n}");
        assert_eq!(lab.value(n).as_deref(), Some("one"), "device {n}");
    }
    assert_eq!(lab.told.events(), []);
}

#[tokio::test]
async fn it_is_confirmed_on_the_warm_sessions_or_on_new_ones() {
    for forget in [false, true] {
        let (lab, deployment) = prepared(20).await;
        if forget {
            // Another worker.
            lab.shared.pool.close_all().await;
        }
        let report = lab.stage(&deployment, Stage::Confirm, false).await;
        assert_eq!(report.event, DeploymentEvent::Confirmed, "{report:?}");
        assert_eq!(in_force(&report), [InForce::New; 2]);
        assert_eq!(steps(&report, 0).contains(&"connect"), forget, "{report:?}");
        lab.assert_all(&[1, 2], Some("one"));
        // Handed out again, it finds that it is done.
        let changes = || lab.simulator.journal().unwrap().iter().filter(|r| !r.changes.is_empty()).count();
        let before = changes();
        let report = lab.stage(&deployment, Stage::Confirm, true).await;
        assert_eq!((report.event, report.attempt), (DeploymentEvent::Confirmed, 2), "{report:?}");
        assert_eq!(changes(), before);
    }
}

#[tokio::test]
async fn it_is_undone_before_and_after_it_was_confirmed() {
    for confirm in [false, true] {
        let (lab, deployment) = prepared(20).await;
        if confirm {
            lab.stage(&deployment, Stage::Confirm, false).await;
        }
        for is_repeat in [false, true] {
            let report = lab.stage(&deployment, Stage::Undo, is_repeat).await;
            assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
            assert_eq!(in_force(&report), [InForce::Old; 2]);
            lab.assert_all(&[1, 2], None);
        }
    }
}

#[tokio::test]
async fn where_a_timer_was_faster_it_is_put_in_force_again() {
    let (lab, deployment) = prepared(1).await;
    until_gone_back(&lab, &[1, 2]).await;
    assert_eq!(lab.value(1), None);
    let report = lab.stage(&deployment, Stage::Confirm, false).await;
    assert_eq!(report.event, DeploymentEvent::Confirmed, "{report:?}");
    lab.assert_all(&[1, 2], Some("one"));
}

#[tokio::test]
async fn what_can_not_be_put_in_force_again_is_taken_back_on_all_devices() {
    let (lab, deployment) = prepared(2).await;
    // One is confirmed by somebody, the other goes back, and refuses from then on.
    lab.behave(2, refusing("edit-config")).await;
    until_gone_back(&lab, &[2]).await;
    lab.leave(1, &deployment, super::lab::Stage::Confirmed).await;
    let report = lab.stage(&deployment, Stage::Confirm, false).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:?}");
    assert_eq!(in_force(&report), [InForce::Old; 2]);
    assert!(classes(&report, 1).contains(&FailureClass::Invalid), "{report:?}");
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn a_confirm_without_answer_is_found_out() {
    for moment in [Moment::Before, Moment::After] {
        let (lab, deployment) = prepared(20).await;
        let drop = Fault { moment, ..Fault::before("commit", Act::Drop) };
        lab.behave(1, Behaviour { faults: vec![drop], ..Behaviour::default() }).await;
        let report = lab.stage(&deployment, Stage::Confirm, false).await;
        assert_eq!(report.event, DeploymentEvent::Confirmed, "{moment:?} {report:?}");
        lab.assert_all(&[1, 2], Some("one"));
    }
}

#[tokio::test]
async fn one_that_refuses_keeps_its_region_from_being_prepared() {
    let lab = Lab::start(2).await;
    lab.behave(2, refusing("edit-config")).await;
    let deployment = lab.deployment(&[1, 2], "one");
    let report = lab.stage(&deployment, Stage::Prepare, false).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:?}");
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn a_device_that_can_not_wait_for_others_is_named() {
    for profile in [Profile::ConfirmedCommit10, Profile::Candidate, Profile::WritableRunning] {
        let lab = Lab::start(2).await;
        lab.behave(2, playing(profile)).await;
        let deployment = lab.deployment(&[1, 2], "one");
        let report = lab.stage(&deployment, Stage::Prepare, false).await;
        assert_eq!(report.event, DeploymentEvent::RolledBack, "{profile:?} {report:?}");
        let failure = &report.devices[1].failures[0];
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.contains(":confirmed-commit:1.1"), "{failure:?}");
        lab.assert_all(&[1, 2], None);
    }
}

#[tokio::test]
async fn a_worker_that_dies_while_preparing_is_replaced() {
    use super::lab::Stage::{Committed, Prepared};
    for left in [None, Some(Prepared), Some(Committed)] {
        let lab = Lab::start(2).await;
        let deployment = lab.deployment(&[1, 2], "one");
        if let Some(left) = left {
            lab.leave(1, &deployment, left).await;
        }
        let report = lab.stage(&deployment, Stage::Prepare, true).await;
        assert_eq!((report.event, report.attempt), (DeploymentEvent::Prepared, 2), "{left:?} {report:?}");
        let report = lab.stage(&deployment, Stage::Confirm, false).await;
        assert_eq!(report.event, DeploymentEvent::Confirmed, "{left:?} {report:?}");
        lab.assert_all(&[1, 2], Some("one"));
    }
}

#[tokio::test]
async fn of_a_device_that_can_not_be_asked_nothing_is_said() {
    let (lab, mut deployment) = prepared(20).await;
    deployment.limits.total_timeout_ms = 4_000;
    lab.behave(2, Behaviour { down: true, ..Behaviour::default() }).await;
    let report = lab.stage(&deployment, Stage::Confirm, false).await;
    assert_eq!(report.event, DeploymentEvent::GivenUp, "{report:?}");
    assert_eq!(in_force(&report), [InForce::New, InForce::Unknown]);
    // So it is undone; the one that could not be asked has gone back by then.
    lab.behave(2, Behaviour::default()).await;
    deployment.limits.total_timeout_ms = 60_000;
    let report = lab.stage(&deployment, Stage::Undo, false).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn what_has_begun_is_ended_by_a_worker_that_would_not_have_begun_it() {
    let (lab, deployment) = prepared(20).await;
    let other = lab.deployment(&[1, 2], "two");
    let settings = crate::Settings { max_devices: 1, ..settings() };
    let shared = crate::serve::Shared::new(settings, assignment(lab.directory.join("password")));
    let part = turnup_core::message::Part { stage: Stage::Confirm, attempt: 1, deployment };
    let report = reported(run_part(&shared, &lab.scheduler, &lab.told, &lab.held, &part, false).await);
    assert_eq!(report.event, DeploymentEvent::Confirmed, "{report:?}");
    lab.assert_all(&[1, 2], Some("one"));
    for (is_repeat, event) in [(false, DeploymentEvent::RolledBack), (true, DeploymentEvent::Committed)] {
        let outcome = run(&shared, &lab.scheduler, &lab.told, &lab.held, &other, is_repeat).await;
        assert_eq!(reported(outcome).event, event, "{is_repeat}");
    }
    lab.assert_all(&[1, 2], Some("two"));
}
