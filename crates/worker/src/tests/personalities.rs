//! Deployments against simulated devices that behave like real servers, changed by the profile of their platform and
//! by the default one: whatever becomes of a deployment, nothing of it is left that could change running later.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use turnup_core::{
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::{Condition, Deployment, InForce},
    name::PlatformName,
    profile::{CancelOrder, Profile, Profiles},
};
use turnup_device_sim::{
    Personality,
    behaviour::{Act, Behaviour, Fault, Moment},
};

use super::lab::*;

/// A value that the schema refuses.
fn refused_value() -> String {
    "x".repeat(300)
}

/// Each personality with the shipped profile of its name and with the default profile. Timers that count minutes
/// count seconds here.
fn all() -> impl Iterator<Item = (Personality, Profile)> {
    let profiles = Profiles::shipped().unwrap();
    Personality::ALL.into_iter().flat_map(move |personality| {
        let own = PlatformName::new(personality.name).map(|name| profiles.of(&name)).unwrap_or_default();
        let personality = Personality { timeout_unit: Duration::from_secs(1), ..personality };
        let own = Profile { confirm_timeout_step_s: 0, ..own };
        [own, Profile::default()].map(|profile| (personality, profile))
    })
}

/// Runs a case on every personality at once.
async fn on_all(case: impl AsyncFn(Personality, Profile)) {
    join_all(all().map(|(personality, profile)| case(personality, profile))).await;
}

async fn lab_of(personality: Personality, profile: &Profile) -> Lab {
    Lab::of_personality(2, personality, profile.clone()).await
}

fn assert_nothing_held(lab: &Lab, at: &[usize], context: &str) {
    for n in at {
        let holds = lab.device(*n).holds();
        assert!(holds.is_nothing(), "{context}: device {n} holds {holds:?}");
    }
}

fn with_timer(mut deployment: Deployment, confirm_timeout_s: u32) -> Deployment {
    deployment.limits.confirm_timeout_s = confirm_timeout_s;
    deployment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployment_completes_on_every_personality() {
    on_all(async |personality, profile| {
        let lab = lab_of(personality, &profile).await;
        let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
        let context = format!("{} {profile:?}", personality.name);
        assert_eq!(report.event, DeploymentEvent::Committed, "{context}: {report:?}");
        assert_eq!([lab.value(1), lab.value(2)], [Some("one".to_owned()), Some("one".to_owned())]);
        assert_nothing_held(&lab, &[1, 2], &context);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_deployment_leaves_nothing_armed_and_later_ones_stay() {
    on_all(async |personality, profile| {
        let context = format!("{} {profile:?}", personality.name);
        let lab = lab_of(personality, &profile).await;
        let first = with_timer(lab.deployment(&[1, 2], "one"), 2);
        assert_eq!(lab.deploy(&first).await.event, DeploymentEvent::Committed, "{context}");
        // Refused at the edit or at the commit, as the server has it.
        let mut second = with_timer(lab.deployment(&[1, 2], "two"), 2);
        let order = second.orders[0];
        let mut bad = edit(order, &refused_value());
        bad.before = first.devices[1].edits[0].after.clone();
        second.devices[1].edits = vec![bad];
        second.devices[0].edits[0].before = first.devices[0].edits[0].after.clone();
        let report = lab.deploy(&second).await;
        assert_eq!(in_force(&report), [InForce::Old, InForce::Old], "{context}: {report:?}");
        assert_nothing_held(&lab, &[1, 2], &context);
        let third = with_timer(lab.deployment(&[1, 2], "three"), 2);
        let report = lab.deploy(&third).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{context}: {report:?}");
        // No timer is left that could fire.
        assert_nothing_held(&lab, &[1, 2], &context);
        assert_eq!([lab.value(1), lab.value(2)].map(Option::unwrap), ["three", "three"], "{context}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_lost_at_the_commit_is_not_in_doubt_once_it_is_read_back() {
    on_all(async |personality, profile| {
        for moment in [Moment::Before, Moment::After] {
            let context = format!("{} {profile:?} {moment:?}", personality.name);
            let lab = lab_of(personality, &profile).await;
            let fault = Fault { moment, ..Fault::before("confirmed-commit", Act::Drop) };
            lab.behave(2, Behaviour { faults: vec![fault], ..Behaviour::default() }).await;
            let report = lab.deploy(&with_timer(lab.deployment(&[1, 2], "one"), 2)).await;
            assert_eq!(in_force(&report), [InForce::Old, InForce::Old], "{context}: {report:?}");
            assert_eq!(classes(&report, 1), [FailureClass::Unreachable], "{context}: {report:?}");
            assert_nothing_held(&lab, &[1, 2], &context);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_back_that_shows_something_else_is_taken_back_within_the_timer() {
    on_all(async |personality, profile| {
        for cancel in [CancelOrder::AfterUnlock, CancelOrder::UnderLock] {
            let profile = Profile { cancel, ..profile.clone() };
            let context = format!("{} {profile:?}", personality.name);
            let lab = lab_of(personality, &profile).await;
            let mut deployment = with_timer(lab.deployment(&[1, 2], "one"), 2);
            // The device keeps another value than the one that is wanted.
            let kept = deployment.devices[1].edits[0].edit.clone();
            deployment.devices[1].edits[0].after = Condition::Contains(kept.replace("one", "uno"));
            let began = Instant::now();
            let report = lab.deploy(&deployment).await;
            assert_eq!(in_force(&report), [InForce::Old, InForce::Old], "{context}: {report:?}");
            assert_eq!([lab.value(1), lab.value(2)], [None, None], "{context}");
            assert_nothing_held(&lab, &[1, 2], &context);
            let timer = profile.confirm_timeout(2);
            assert!(began.elapsed() < timer + Duration::from_secs(25), "{context}: {:?}", began.elapsed());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_an_earlier_deployment_is_cancelled_by_the_next() {
    on_all(async |personality, profile| {
        if personality.confirmed_commit != turnup_device_sim::personality::ConfirmedCommit::V1_1 {
            return;
        }
        let context = format!("{} {profile:?}", personality.name);
        let lab = lab_of(personality, &profile).await;
        let lost = lab.deployment(&[1], "lost");
        lab.leave(1, &lost, Stage::Committed).await;
        let mut next = lab.deployment(&[1], "next");
        next.devices[0].pending_tokens = vec![lost.deployment.to_string()];
        next.limits.lock_wait_ms = 10_000;
        let report = lab.deploy(&next).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{context}: {report:?}");
        assert!(report.devices[0].tokens_cancelled, "{context}");
        assert_nothing_held(&lab, &[1], &context);
        assert_eq!(lab.value(1).as_deref(), Some("next"), "{context}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_died_at_the_provisional_commit_is_recovered() {
    on_all(async |personality, profile| {
        for stage in [Stage::Prepared, Stage::Committed, Stage::Confirmed] {
            if personality.name == "junos" && stage != Stage::Prepared {
                // Its commits have no token, and its timer counts minutes.
                continue;
            }
            let context = format!("{} {profile:?} {stage:?}", personality.name);
            let lab = lab_of(personality, &profile).await;
            let mut deployment = with_timer(lab.deployment(&[1, 2], "one"), 3);
            deployment.limits.lock_wait_ms = 10_000;
            lab.leave(1, &deployment, stage).await;
            let report = lab.recover(&deployment).await;
            assert_eq!(report.event, DeploymentEvent::Committed, "{context}: {report:?}");
            assert_eq!([lab.value(1), lab.value(2)].map(Option::unwrap), ["one", "one"], "{context}");
            assert_nothing_held(&lab, &[1, 2], &context);
        }
    })
    .await;
}
