//! Functional checks before the confirm: what does not pass is in force nowhere.

use futures_util::future::join_all;
use turnup_core::{
    audit::{Check, CheckAsk, CheckCondition, ChecksBeforeConfirm, Test},
    failure::FailureClass,
    lifecycle::{DeploymentEvent, OrderEvent},
    message::{Deployment, InForce, Stage},
    profile::Profile,
    settle::order_event,
};
use turnup_device_sim::{
    Personality, Profile as Kind,
    behaviour::{Act, Behaviour, Fault, Refusal},
};

use turnup_netconf::message::ErrorTag;

use super::lab::{self, Lab, classes, in_force, steps};

/// A check that passes while the interface has this description.
fn check(value: &str) -> ChecksBeforeConfirm {
    let ask = r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name></interface></interfaces>"#;
    ChecksBeforeConfirm {
        checks: vec![Check {
            name: "interface carries traffic".to_owned(),
            ask: CheckAsk::Get(ask.to_owned()),
            conditions: vec![CheckCondition {
                path: "/interfaces/interface[name='ge-0']/description".to_owned(),
                test: Test::Is,
                value: value.to_owned(),
            }],
        }],
        settle_ms: 0,
        within_ms: 500,
        of_all_devices: true,
    }
}

fn deployment(lab: &Lab, at: &[usize], passes: &[&str]) -> Deployment {
    let mut deployment = lab.deployment(at, "one");
    for (work, value) in deployment.devices.iter_mut().zip(passes) {
        work.before_confirm = Some(check(value));
    }
    deployment
}

#[tokio::test]
async fn change_is_confirmed_when_every_check_passes() {
    let lab = Lab::start(2).await;
    let report = lab.deploy(&deployment(&lab, &[1, 2], &["one", "one"])).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    lab.assert_all(&[1, 2], Some("one"));
    let asked = steps(&report, 0).iter().filter(|step| **step == "functional-check").count();
    assert_eq!(asked, 1, "one request per check and poll: {report:?}");
}

#[tokio::test]
async fn change_is_undone_everywhere_when_one_device_does_not_pass() {
    for personality in Personality::ALL {
        let lab = Lab::of_personality(2, personality, Profile::default()).await;
        let mut deployment = deployment(&lab, &[1, 2], &["one", "two"]);
        deployment.limits.confirm_timeout_s = 4;
        if personality.name == "junos" {
            // Its timer counts minutes, and only the timer takes a commit back.
            continue;
        }
        let report = lab.deploy(&deployment).await;
        assert_eq!(in_force(&report), [InForce::Old, InForce::Old], "{}: {report:?}", personality.name);
        assert_eq!(classes(&report, 1), [FailureClass::NotWorking], "{}", personality.name);
        let failure = &report.devices[1].failures[0];
        assert!(failure.message.contains("interface carries traffic"), "{failure:?}");
        assert!(failure.details[0].text.contains("one"), "the evidence: {failure:?}");
        assert_eq!(order_event(&report.orders[0].failures), OrderEvent::Failed);
        lab.assert_all(&[1, 2], None);
    }
}

#[tokio::test]
async fn change_for_good_is_taken_back_when_the_check_does_not_pass() {
    for kind in [Kind::Candidate, Kind::WritableRunning] {
        let lab = Lab::start(2).await;
        lab.behave(1, Behaviour { profile: kind, ..Behaviour::default() }).await;
        let report = lab.deploy(&deployment(&lab, &[1, 2], &["two", "one"])).await;
        assert_eq!(in_force(&report), [InForce::Old, InForce::Old], "{report:?}");
        lab.assert_all(&[1, 2], None);
    }
}

#[tokio::test]
async fn check_is_polled_until_it_passes() {
    let lab = Lab::start(1).await;
    // The first poll is refused.
    let fault = Fault { occurrence: 1, ..Fault::before("get", Act::Refuse(Refusal::new(ErrorTag::InUse))) };
    lab.behave(1, Behaviour { faults: vec![fault], ..Behaviour::default() }).await;
    let mut deployment = deployment(&lab, &[1], &["one"]);
    deployment.devices[0].before_confirm.as_mut().unwrap().within_ms = 60_000;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert_eq!(steps(&report, 0).iter().filter(|step| **step == "functional-check").count(), 2, "{report:?}");
    lab.assert_all(&[1], Some("one"));
}

#[tokio::test]
async fn region_that_does_not_pass_is_not_prepared() {
    let lab = Lab::start(1).await;
    let good = deployment(&lab, &[1], &["one"]);
    let report = lab.stage(&good, Stage::Prepare, false).await;
    assert_eq!(report.event, DeploymentEvent::Prepared, "{report:?}");
    lab.stage(&good, Stage::Undo, false).await;
    let bad = deployment(&lab, &[1], &["two"]);
    let report = lab.stage(&bad, Stage::Prepare, false).await;
    assert_ne!(report.event, DeploymentEvent::Prepared, "{report:?}");
    assert_eq!(classes(&report, 0), [FailureClass::NotWorking]);
    lab.assert_all(&[1], None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_many_orders_that_stay_down_is_in_force() {
    let lab = Lab::start(20).await;
    let deployments: Vec<Deployment> = (1..=20).map(|n| deployment(&lab, &[n], &["never"])).collect();
    let reports = join_all(deployments.iter().map(|deployment| lab.deploy(deployment))).await;
    for report in &reports {
        assert_eq!(in_force(report), [InForce::Old], "{report:?}");
        assert_eq!(order_event(&report.orders[0].failures), OrderEvent::Failed);
    }
    lab.assert_all(&(1..=20).collect::<Vec<_>>(), None);
}

#[tokio::test]
async fn worker_that_died_before_the_checks_is_recovered_with_checks() {
    for passes in [true, false] {
        let lab = Lab::start(1).await;
        let value = if passes { "one" } else { "two" };
        let deployment = deployment(&lab, &[1], &[value]);
        lab.leave(1, &deployment, lab::Stage::Committed).await;
        let report = lab.recover(&deployment).await;
        assert_eq!(report.event == DeploymentEvent::Committed, passes, "{report:?}");
        lab.assert_all(&[1], passes.then_some("one"));
    }
}
