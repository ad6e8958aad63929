//! A worker that dies at each of its crash points, as a process of its own: what it leaves, and that the
//! next one brings it to an end.

use std::{
    path::PathBuf,
    process::{Command, ExitStatus},
    sync::atomic::AtomicBool,
};

use futures_util::{StreamExt as _, stream};
use turnup_core::{
    lifecycle::DeploymentEvent,
    message::{Body as _, Deployment},
};

use turnup_device_sim::{
    Profile,
    behaviour::{Act, Fault, Refusal},
};
use turnup_netconf::message::ErrorTag;

use super::{
    lab::{self, Lab, Scheduler, Told},
    methods::{KINDS, playing},
};
use crate::{crash, serve::Shared};

/// Names the folder with the deployment and the password, in the process that is to die.
const FOLDER: &str = "TURNUP_TEST_WORKER_FOLDER";

/// Not a test but the worker that dies; does nothing when run with the others.
#[tokio::test]
async fn the_worker_that_dies() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let deployment = Deployment::decode(&std::fs::read(folder.join("deployment")).unwrap()).unwrap();
    let shared = Shared::new(lab::settings(), lab::assignment(folder.join("password")));
    let (scheduler, told, held) = (Scheduler::default(), Told::default(), AtomicBool::new(true));
    lab::run(&shared, &scheduler, &told, &held, &deployment, false).await;
}

/// Has a worker die at this point. Returns the deployment.
async fn die_at(lab: &Lab, point: &str) -> Deployment {
    die_with(lab, point, lab.deployment(&[1, 2], "one")).await
}

async fn die_with(lab: &Lab, point: &str, deployment: Deployment) -> Deployment {
    let status = run_apart(lab, point, &deployment).await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{point}");
    deployment
}

/// Has a process of its own run the deployment, which dies if it gets to this point.
pub(super) async fn run_apart(lab: &Lab, point: &str, deployment: &Deployment) -> ExitStatus {
    std::fs::write(lab.directory.join("deployment"), deployment.encode().unwrap()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["tests::crash::the_worker_that_dies", "--exact", "--nocapture"]);
    command.env(FOLDER, &lab.directory).env("TURNUP_CRASH_POINT", point);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.code() != Some(101), "{point}: {output:?}");
    output.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_point_the_next_worker_ends_it() {
    // What is in force, provisionally or for good; how many commits are pending.
    let points = [
        (crash::AFTER_PREPARE, [None, None], 0),
        (crash::AFTER_PROVISIONAL, [Some("one"), Some("one")], 2),
        (crash::AFTER_CONFIRM_FIRST, [Some("one"), Some("one")], 1),
        (crash::AFTER_CONFIRM, [Some("one"), Some("one")], 0),
    ];
    for (point, values, pending) in points {
        let lab = Lab::start(2).await;
        let deployment = die_at(&lab, point).await;
        let found = [lab.value(1), lab.value(2)];
        assert_eq!(found.each_ref().map(Option::as_deref), values, "{point}");
        let found = [1, 2].into_iter().filter(|n| lab.device(*n).has_pending_commit()).count();
        assert_eq!(found, pending, "{point}");
        let report = lab.recover(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{point} {report:?}");
        lab.assert_all(&[1, 2], Some("one"));
    }
}

/// Every two kinds of devices at every point: the next worker puts it in force on both or, where one refuses
/// it now, on none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_any_kind_are_brought_to_an_end_by_the_next_worker() {
    let kinds = KINDS.map(|(profile, _)| profile);
    let is_final = |profile: Profile| KINDS[2..].iter().any(|(known, _)| *known == profile);
    let mut cases = Vec::new();
    for (a, b) in kinds.into_iter().flat_map(|a| kinds.map(|b| (a, b))).filter(|(a, b)| a != b) {
        let mut points = vec![crash::AFTER_PREPARE, crash::AFTER_CONFIRM_FIRST];
        points.extend((is_final(a) || is_final(b)).then_some(crash::AFTER_FOR_GOOD));
        points.extend((!is_final(a) || !is_final(b)).then_some(crash::AFTER_PROVISIONAL));
        cases.extend(points.into_iter().flat_map(|point| [(a, b, point, false), (a, b, point, true)]));
    }
    // Most of it is waiting.
    stream::iter(cases).for_each_concurrent(8, |(a, b, point, refused)| ends(a, b, point, refused)).await;
}

async fn ends(a: Profile, b: Profile, point: &'static str, refused: bool) {
    let lab = Lab::start(2).await;
    lab.behave(1, playing(a)).await;
    lab.behave(2, playing(b)).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.confirm_timeout_s = 2;
    let deployment = die_with(&lab, point, deployment).await;
    if refused {
        let refusal = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
        let mut behaviour = playing(b);
        behaviour.faults = vec![Fault::before("edit-config", refusal)];
        lab.behave(2, behaviour).await;
    }
    let report = lab.recover(&deployment).await;
    let say = format!("{a:?} {b:?} {point} refused {refused}: {report:#?}");
    // Where all of it was in force already, nobody is asked again.
    let value = lab.value(1);
    assert_eq!(value, lab.value(2), "a mixture: {say}");
    let event = match (refused, value.is_some()) {
        (_, true) => DeploymentEvent::Committed,
        (true, false) => DeploymentEvent::Rejected,
        (false, false) => panic!("given up: {say}"),
    };
    assert_eq!(report.event, event, "{say}");
    lab.assert_clean(1);
    lab.assert_clean(2);
}
