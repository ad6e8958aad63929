//! Who may go on, and what is believed: rules that keep two workers from each other's work.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::future::join;
use jiff::SignedDuration;
use tokio::time::Instant;
use turnup_core::{attempt, failure::FailureClass, lifecycle::DeploymentEvent, message, message::InForce};
use turnup_device_sim::{
    behaviour::{Act, Behaviour, Fault},
    datastore::Kind,
};

use super::lab::*;
use crate::deploy::Outcome;

async fn until(mut holds: impl FnMut() -> bool) {
    let by = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < by, "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn kinds(lab: &Lab, device: usize) -> Vec<Kind> {
    let name = lab.device(device).name().to_owned();
    let journal = lab.simulator.journal().unwrap();
    journal.into_iter().filter(|record| record.device == name).map(|record| record.kind).collect()
}

#[tokio::test]
async fn what_is_pending_for_somebody_else_is_not_taken_for_ones_own() {
    let lab = Lab::start(1).await;
    let mut other = lab.deployment(&[1], "one");
    other.limits.confirm_timeout_s = 3;
    lab.leave(1, &other, Stage::Committed).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.limits.confirm_timeout_s = 4;
    // Longer than locks are waited for, this reads as if the order were in force.
    assert_eq!(lab.value(1).as_deref(), Some("one"));
    let report = lab.recover(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert_eq!(kinds(&lab, 1), [Kind::Provisional, Kind::TimedOut, Kind::Provisional, Kind::Confirmed]);
    lab.assert_all(&[1], Some("one"));
}

#[tokio::test]
async fn nothing_is_said_to_be_undone_while_its_commit_is_on_its_way() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { commit_delay_ms: 4_000, ..Behaviour::default() }).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.limits.rpc_timeout_ms = 500;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    assert_eq!(kinds(&lab, 1), [Kind::Provisional, Kind::Cancelled]);
    lab.assert_all(&[1], None);
}

#[tokio::test]
async fn nobody_takes_over_from_who_need_not_ask_yet() {
    let lab = Lab::start(1).await;
    let deployment = lab.deployment(&[1], "one");
    let left = Duration::from_millis(400);
    let began = Instant::now();
    let outcome = lab.run_aged(&deployment, true, attempt::TAKEN_OVER_AFTER - left).await;
    assert_eq!(reported(outcome).event, DeploymentEvent::Committed);
    let asked = lab.scheduler.first.lock().unwrap().expect("it has asked");
    assert!(asked.duration_since(began) >= left);
}

#[tokio::test]
async fn who_has_taken_over_asks_before_each_phase() {
    let lab = Lab::start(2).await;
    let report = lab.recover(&lab.deployment(&[1, 2], "one")).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    // To take over; at each device before it is asked what it has; before prepare, commit and confirm.
    assert_eq!(lab.scheduler.claims.load(Ordering::SeqCst), 1 + 2 + 3);
}

#[tokio::test]
async fn who_was_taken_over_in_turn_changes_nothing() {
    let lab = Lab::start(2).await;
    lab.scheduler.superseded.store(true, Ordering::SeqCst);
    let outcome = lab.run(&lab.deployment(&[1, 2], "one"), true).await;
    assert!(matches!(outcome, Outcome::Forget), "{outcome:?}");
    assert!(lab.simulator.journal().unwrap().is_empty());
}

#[tokio::test]
async fn a_first_delivery_asks_once_its_message_is_old() {
    let lab = Lab::start(1).await;
    let deployment = lab.deployment(&[1], "one");
    let outcome = lab.run_aged(&deployment, false, attempt::ASKS_AFTER).await;
    assert_eq!(reported(outcome).event, DeploymentEvent::Committed);
    assert_eq!(lab.scheduler.claims.load(Ordering::SeqCst), 1, "for all its phases");
    lab.scheduler.superseded.store(true, Ordering::SeqCst);
    let outcome = lab.run_aged(&lab.deployment(&[1], "two"), false, attempt::ASKS_AFTER).await;
    assert!(matches!(outcome, Outcome::Forget), "{outcome:?}");
    assert_eq!(lab.value(1).as_deref(), Some("one"));
}

#[tokio::test]
async fn who_has_lost_the_delivery_may_still_ask_and_finds_out() {
    let lab = Lab::start(2).await;
    let faults = vec![Fault::before("confirmed-commit", Act::Hang)];
    lab.behave(2, Behaviour { faults, ..Behaviour::default() }).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.rpc_timeout_ms = 1_000;
    let lose = async {
        until(|| lab.device(1).has_pending_commit()).await;
        lab.held.store(false, Ordering::SeqCst);
    };
    let (outcome, ()) = join(lab.run(&deployment, false), lose).await;
    let report = reported(outcome);
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    assert_eq!(in_force(&report), [InForce::Old; 2]);
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn it_is_said_until_when_it_may_be_confirmed_even_if_that_is_over() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { commit_delay_ms: 1_500, ..Behaviour::default() }).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.limits.confirm_timeout_s = 2;
    let report = lab.stage(&deployment, message::Stage::Prepare, false).await;
    assert_eq!(report.event, DeploymentEvent::Prepared, "{report:?}");
    // Half of the timer is 1 s.
    let over = report.at.duration_since(report.confirm_by.unwrap());
    assert!(over >= SignedDuration::from_millis(500), "{report:?}");
}

#[tokio::test]
async fn too_slow_a_commit_is_a_failure_and_not_somebody_elses_work() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { commit_delay_ms: 1_500, ..Behaviour::default() }).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.limits.confirm_timeout_s = 2;
    let report = lab.recover(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    let failure = &report.devices[0].failures[0];
    assert!(failure.message.contains("raise confirm_timeout_s"), "{failure:?}");
    assert_eq!(failure.class, FailureClass::Unreachable);
    lab.assert_all(&[1], None);
}
