//! When nothing goes wrong, and who may do what.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;
use turnup_core::{failure::FailureClass, lifecycle::DeploymentEvent, message::InForce, name::PlatformName};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, Refusal};
use turnup_netconf::message::ErrorTag;

use super::lab::*;
use crate::{Settings, deploy::Outcome};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn in_force_everywhere_in_four_round_trips() {
    let lab = Lab::start(2).await;
    let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert_eq!((report.attempt, report.sequence, report.phase.as_str()), (1, 1, "confirm"));
    assert_eq!(in_force(&report), [InForce::New, InForce::New]);
    assert!(report.orders[0].failures.is_empty());
    assert_eq!(steps(&report, 0), ["connect", "lock", "edit-config", "commit", "confirm"]);
    lab.assert_all(&[1, 2], Some("one"));
    // The sessions are kept, and used again.
    assert_eq!(lab.shared.pool.len(), 2);
    let again = lab.deploy(&lab.deployment(&[1, 2], "two")).await;
    assert_eq!(again.event, DeploymentEvent::Committed, "{again:?}");
    assert_eq!(steps(&again, 1), ["lock", "edit-config", "commit", "confirm"]);
    lab.assert_all(&[1, 2], Some("two"));
    assert_eq!(lab.scheduler.claims.load(Ordering::SeqCst), 0, "a first delivery asks nobody");
    assert!(lab.told.events().is_empty(), "a quick one says how it ended and nothing else");
}

#[tokio::test]
async fn what_goes_is_removed() {
    let lab = Lab::start(1).await;
    let provision = lab.deployment(&[1], "one");
    lab.deploy(&provision).await;
    let mut gone = lab.deployment(&[1], "one");
    gone.devices[0].edits = vec![reversed(edit(gone.orders[0], "one"))];
    let report = lab.deploy(&gone).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    lab.assert_all(&[1], None);
}

#[tokio::test]
async fn a_long_one_says_how_far_it_is() {
    let lab = Lab::with(1, Settings { report_after_ms: 100, ..Settings::default() }).await;
    lab.behave(1, Behaviour { commit_delay_ms: 600, ..Behaviour::default() }).await;
    let report = lab.deploy(&lab.deployment(&[1], "one")).await;
    assert_eq!(report.event, DeploymentEvent::Committed);
    assert_eq!(lab.told.events()[0], DeploymentEvent::Progressed);
    assert_eq!(usize::try_from(report.sequence).unwrap(), lab.told.events().len() + 1);
}

#[tokio::test]
async fn a_warm_session_that_has_died_is_replaced() {
    let lab = Lab::start(1).await;
    lab.deploy(&lab.deployment(&[1], "one")).await;
    lab.behave(1, Behaviour { down: true, ..Behaviour::default() }).await;
    lab.behave(1, Behaviour::default()).await;
    let report = lab.deploy(&lab.deployment(&[1], "two")).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    lab.assert_all(&[1], Some("two"));
}

/// Another session holds the lock when it is requested for the first time.
fn lock_is_denied_once() -> Behaviour {
    let denied = Act::Refuse(Refusal::new(ErrorTag::LockDenied));
    Behaviour { faults: vec![Fault::before("lock", denied)], ..Behaviour::default() }
}

#[tokio::test]
async fn worker_waits_for_a_lock_that_is_released_in_time() {
    let lab = Lab::start(2).await;
    lab.behave(2, lock_is_denied_once()).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.lock_wait_ms = 20_000;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert_eq!(lab.scheduler.claims.load(Ordering::SeqCst), 1, "after the wait the attempt was checked");
    lab.assert_all(&[1, 2], Some("one"));
}

#[tokio::test]
async fn worker_changes_nothing_when_superseded_while_it_waits_for_a_lock() {
    let lab = Lab::start(2).await;
    lab.scheduler.superseded.store(true, Ordering::SeqCst);
    lab.behave(2, lock_is_denied_once()).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.lock_wait_ms = 20_000;
    let outcome = lab.run(&deployment, false).await;
    assert!(matches!(outcome, Outcome::Forget), "{outcome:?}");
    assert_eq!(lab.shared.pool.len(), 0);
    assert_eq!((lab.value(1), lab.value(2)), (None, None));
}

#[tokio::test]
async fn who_lost_the_delivery_takes_back_what_is_in_hand() {
    let lab = Lab::start(2).await;
    lab.behave(2, Behaviour { commit_delay_ms: 300, ..Behaviour::default() }).await;
    let deployment = lab.deployment(&[1, 2], "one");
    let lose = async {
        while !lab.device(1).has_pending_commit() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.held.store(false, Ordering::SeqCst);
    };
    let (outcome, ()) = futures_util::future::join(lab.run(&deployment, false), lose).await;
    assert!(matches!(outcome, Outcome::Release), "{outcome:?}");
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn a_repeat_touches_nothing_without_the_schedulers_word() {
    let lab = Lab::start(1).await;
    let deployment = lab.deployment(&[1], "one");
    *lab.scheduler.take_over.lock().unwrap() = None;
    assert!(matches!(lab.run(&deployment, true).await, Outcome::Forget));
    lab.scheduler.silent.store(true, Ordering::SeqCst);
    let mut hurried = deployment.clone();
    hurried.limits.total_timeout_ms = 500;
    assert!(matches!(lab.run(&hurried, true).await, Outcome::Release));
    assert!(lab.simulator.journal().unwrap().is_empty());
    assert_eq!(lab.value(1), None);
}

#[tokio::test]
async fn paper_devices_are_for_who_allows_them() {
    let lab = Lab::start(1).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.devices[0].platform = PlatformName::new("null").unwrap();
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack);
    assert_eq!(classes(&report, 0), [FailureClass::Misconfigured]);
    assert_eq!(report.orders[0].failures[0].class, FailureClass::Misconfigured);

    let lab = Lab::with(1, Settings { allow_null_platform: true, ..settings() }).await;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed);
    assert_eq!(lab.value(1), None);
}

#[tokio::test]
async fn too_many_devices_and_what_is_no_configuration_are_refused_before_any_is_contacted() {
    let lab = Lab::with(2, Settings { max_devices: 1, ..settings() }).await;
    let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
    assert!(report.orders[0].failures[0].message.contains("max_devices"), "{report:?}");
    let mut deployment = lab.deployment(&[1], "one");
    deployment.devices[0].edits[0].inverse = "<a>".to_owned();
    let report = lab.deploy(&deployment).await;
    assert_eq!(classes(&report, 0), [FailureClass::Misconfigured], "{report:?}");
    assert!(lab.simulator.journal().unwrap().is_empty());
}

#[tokio::test]
async fn pool_keeps_no_more_sessions_than_allowed() {
    let lab = Lab::with(3, Settings { max_warm_sessions: 2, ..settings() }).await;
    for n in 1..=3 {
        lab.deploy(&lab.deployment(&[n], "one")).await;
    }
    assert_eq!(lab.shared.pool.len(), 2);
    let evicted = lab.deploy(&lab.deployment(&[1], "two")).await;
    assert_eq!(steps(&evicted, 0)[0], "connect", "the oldest had to go");
    assert_eq!(lab.shared.pool.len(), 2);
}

#[tokio::test]
async fn pool_drops_a_session_that_is_idle_for_too_long() {
    let idle = Duration::from_millis(200);
    let lab = Lab::with(1, Settings { session_idle_ms: 200, ..settings() }).await;
    let began = Instant::now();
    lab.deploy(&lab.deployment(&[1], "one")).await;
    tokio::time::timeout(PATIENCE, async {
        while lab.shared.pool.len() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            lab.shared.pool.sweep();
        }
    })
    .await
    .unwrap();
    assert!(began.elapsed() >= idle, "dropped after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_session_serves_only_what_it_was_opened_with() {
    let lab = Lab::start(1).await;
    lab.deploy(&lab.deployment(&[1], "one")).await;
    let mut other = lab.deployment(&[1], "two");
    other.devices[0].host_key = Some(lab.deployment(&[1], "x").devices[0].host_key.clone().unwrap());
    assert_eq!(steps(&lab.deploy(&other).await, 0)[0], "lock", "the same pin");
    // Another pin: what the device presents is looked at again, and it isn't that.
    let wrong = turnup_netconf::server::HostKeyPair::from_seed(&[9; 32]).public_key();
    other.devices[0].host_key = Some(wrong);
    assert_eq!(classes(&lab.deploy(&other).await, 0), [FailureClass::Distrusted]);
}
