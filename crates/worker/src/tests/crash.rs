//! A worker that dies at each of its crash points, as a process of its own: what it leaves, and that the
//! next one brings it to an end.

use std::{path::PathBuf, process::Command, sync::atomic::AtomicBool};

use turnup_core::{
    lifecycle::DeploymentEvent,
    message::{Body as _, Deployment},
};

use super::lab::{self, Lab, Scheduler, Told};
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
    let deployment = lab.deployment(&[1, 2], "one");
    std::fs::write(lab.directory.join("deployment"), deployment.encode().unwrap()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["tests::crash::the_worker_that_dies", "--exact", "--nocapture"]);
    command.env(FOLDER, &lab.directory).env("TURNUP_CRASH_POINT", point);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(6), "{point}: {output:?}");
    deployment
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
