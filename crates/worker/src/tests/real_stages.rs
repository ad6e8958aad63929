//! The stages of an order over several regions on netconfd: what one session has committed provisionally is
//! confirmed, cancelled or found gone by another (RFC 6241 §8.4).

use std::time::Duration;

use turnup_core::{
    id::DeploymentId,
    lifecycle::DeploymentEvent,
    message::{Deployment, InForce, Stage},
};
use uuid::Uuid;

use super::{lab::in_force, real::Real};

async fn has(real: &Real, deployment: &Deployment, name: &str) -> bool {
    let found = real.interfaces(deployment).await;
    let has: Vec<bool> = found.iter().map(|names| names.iter().any(|found| found == name)).collect();
    assert!(has.iter().all(|one| *one == has[0]), "a mixture: {found:?}");
    has[0]
}

#[tokio::test]
async fn netconfd_is_prepared_and_decided_by_another_session() {
    let Some(real) = Real::start() else { return };
    for (name, decision, warm) in [
        ("eth1", Stage::Confirm, true),
        ("eth2", Stage::Confirm, false),
        ("eth3", Stage::Undo, true),
        ("eth4", Stage::Undo, false),
    ] {
        let deployment = real.deployment(name, "ethernetCsmacd");
        let report = real.stage(&deployment, Stage::Prepare, false).await;
        assert_eq!(report.event, DeploymentEvent::Prepared, "{name} {report:#?}");
        if !warm {
            real.forget_sessions().await;
        }
        assert!(has(&real, &deployment, name).await, "provisionally in force");
        let (event, found) = match decision {
            Stage::Confirm => (DeploymentEvent::Confirmed, InForce::New),
            _ => (DeploymentEvent::RolledBack, InForce::Old),
        };
        let report = real.stage(&deployment, decision, false).await;
        assert_eq!(report.event, event, "{name} {report:#?}");
        assert_eq!(in_force(&report), [found; 2]);
        assert_eq!(has(&real, &deployment, name).await, found == InForce::New);
        // Decided for good: handed out again, nothing is different.
        assert_eq!(real.stage(&deployment, decision, true).await.event, event, "{name}");
        assert_eq!(has(&real, &deployment, name).await, found == InForce::New);
    }
}

#[tokio::test]
async fn netconfd_goes_back_by_its_timer_and_is_put_forward_again() {
    let Some(real) = Real::start() else { return };
    let mut deployment = real.deployment("eth1", "ethernetCsmacd");
    deployment.limits.confirm_timeout_s = 2;
    let report = real.stage(&deployment, Stage::Prepare, false).await;
    assert_eq!(report.event, DeploymentEvent::Prepared, "{report:#?}");
    // Its timer doesn't fire while it is asked more than once a second.
    let wait = async {
        while has(&real, &deployment, "eth1").await {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    let report = real.stage(&deployment, Stage::Confirm, false).await;
    assert_eq!(report.event, DeploymentEvent::Confirmed, "{report:#?}");
    assert!(has(&real, &deployment, "eth1").await);
    // And taken back by the inverse edit, as nothing is pending any more.
    let report = real.stage(&deployment, Stage::Undo, false).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:#?}");
    assert!(!has(&real, &deployment, "eth1").await);
    // The next order finds nothing in its way.
    deployment.deployment = DeploymentId(Uuid::now_v7());
    assert_eq!(real.run(&deployment, false).await.event, DeploymentEvent::Committed);
}
