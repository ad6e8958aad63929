//! netconfd as a lesser device: of base:1.0, where its confirmed commit belongs to one session, and without
//! candidate.

use turnup_core::{
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::{Condition, Guarantee, InForce, StateChange},
};
use turnup_netconf::operation::{Datastore, EditConfig, Operation};

use super::{
    lab::{self, classes, in_force, steps},
    real::{Real, edit},
};

const BASE_1_0: &str = "--protocols=netconf1.0";
const RUNNING: &str = "--target=running";

fn guarantees(report: &StateChange) -> Vec<Option<Guarantee>> {
    report.devices.iter().map(|device| device.guarantee).collect()
}

/// There, refused by the second, back, and back once more.
async fn there_and_back(extra: &str, guarantee: Guarantee) {
    let Some(real) = Real::start_as(extra) else { return };
    let provision = real.deployment("eth1", "ethernetCsmacd");
    let report = real.run(&provision, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{extra} {report:#?}");
    assert_eq!(guarantees(&report), [Some(guarantee); 2], "{extra}");
    assert_eq!(real.interfaces(&provision).await, [["eth1"], ["eth1"]]);

    let refused = real.deployment("eth2", "noSuchType");
    let report = real.run(&refused, false).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{extra} {report:#?}");
    assert_eq!(in_force(&report), [InForce::Old; 2], "{extra} {report:#?}");
    assert!(classes(&report, 1).iter().all(|class| *class == FailureClass::Invalid), "{report:#?}");
    assert!(!steps(&report, 0).contains(&"connect"), "warm: {report:#?}");
    assert_eq!(real.interfaces(&refused).await, [["eth1"], ["eth1"]]);

    let mut gone = real.deployment("eth1", "ethernetCsmacd");
    for work in &mut gone.devices {
        work.edits = vec![lab::reversed(edit(gone.orders[0], "eth1", "ethernetCsmacd"))];
    }
    for _ in 0..2 {
        let report = real.run(&gone, false).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{extra} {report:#?}");
        assert_eq!(real.interfaces(&gone).await, [Vec::<String>::new(), Vec::new()]);
    }
}

#[tokio::test]
async fn netconfd_of_base_1_0() {
    there_and_back(BASE_1_0, Guarantee::ConfirmedCommit10).await;
}

#[tokio::test]
async fn netconfd_of_base_1_0_goes_back_with_the_session() {
    let Some(real) = Real::start_as(BASE_1_0) else { return };
    let mut deployment = real.deployment("eth1", "ethernetCsmacd");
    // Reading back, the second doesn't show what was wanted.
    let wanted = edit(deployment.orders[0], "eth2", "ethernetCsmacd").edit;
    deployment.devices[1].edits[0].after = Condition::Contains(wanted);
    let report = real.run(&deployment, false).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:#?}");
    assert_eq!(in_force(&report), [InForce::Old; 2], "{report:#?}");
    assert_eq!(report.phase, "undo", "{report:#?}");
    assert_eq!(real.interfaces(&deployment).await, [Vec::<String>::new(), Vec::new()]);
}

#[tokio::test]
async fn netconfd_whose_running_is_edited() {
    there_and_back(RUNNING, Guarantee::WritableRunning).await;
    there_and_back(&format!("{BASE_1_0} {RUNNING}"), Guarantee::WritableRunning).await;
}

#[tokio::test]
async fn netconfd_whose_running_is_edited_is_saved_to_startup() {
    let Some(real) = Real::start_as(&format!("{RUNNING} --with-startup=true")) else { return };
    let deployment = real.deployment("eth1", "ethernetCsmacd");
    let report = real.run(&deployment, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    for (at, work) in deployment.devices.iter().enumerate() {
        assert!(steps(&report, at).contains(&"copy-config"), "{report:#?}");
        assert!(report.devices[at].failures.is_empty(), "{report:#?}");
        let mut session = lab::open(work, &real.credentials()).await;
        let reply = lab::ask(&mut session, Operation::get_config(Datastore::Startup, None)).await;
        assert!(reply.data().is_some_and(|data| data.to_xml().contains("eth1")), "{reply:?}");
    }
}

#[tokio::test]
async fn netconfd_whose_running_is_edited_gets_the_inverse() {
    let Some(real) = Real::start_as(RUNNING) else { return };
    let mut deployment = real.deployment("eth1", "ethernetCsmacd");
    let wanted = edit(deployment.orders[0], "eth2", "ethernetCsmacd").edit;
    deployment.devices[1].edits[0].after = Condition::Contains(wanted);
    let report = real.run(&deployment, false).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:#?}");
    assert_eq!(in_force(&report), [InForce::Old; 2], "{report:#?}");
    assert_eq!(report.phase, "revert", "{report:#?}");
    assert_eq!(real.interfaces(&deployment).await, [Vec::<String>::new(), Vec::new()]);
}

#[tokio::test]
async fn netconfd_whose_running_is_edited_after_a_worker_has_died() {
    let Some(real) = Real::start_as(RUNNING) else { return };
    let deployment = real.deployment("eth1", "ethernetCsmacd");
    let mut dead = lab::open(&deployment.devices[0], &real.credentials()).await;
    let part = crate::work::parse(&deployment.devices[0].edits[0].edit).unwrap();
    lab::ask(&mut dead, Operation::lock(Datastore::Running)).await;
    let put = EditConfig::new(Datastore::Running, part.into_children());
    lab::ask(&mut dead, Operation::edit_config(put)).await;
    drop(dead);
    let report = real.run(&deployment, true).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(real.interfaces(&deployment).await, [["eth1"], ["eth1"]]);
}

#[tokio::test]
async fn netconfd_of_base_1_0_after_a_worker_has_died() {
    let Some(real) = Real::start_as(BASE_1_0) else { return };
    let mut deployment = real.deployment("eth1", "ethernetCsmacd");
    deployment.limits.confirm_timeout_s = 4;
    for (work, confirms) in deployment.devices.iter().zip([true, false]) {
        let mut dead = lab::open(work, &real.credentials()).await;
        lab::ask(&mut dead, Operation::lock(Datastore::Running)).await;
        lab::ask(&mut dead, Operation::lock(Datastore::Candidate)).await;
        let all = crate::work::parse(&work.edits[0].edit).unwrap().into_children();
        lab::ask(&mut dead, Operation::edit_config(EditConfig::new(Datastore::Candidate, all))).await;
        lab::ask(&mut dead, crate::work::commit_provisionally(None, 4)).await;
        if confirms {
            lab::ask(&mut dead, Operation::commit()).await;
        }
    }
    let report = real.run(&deployment, true).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(real.interfaces(&deployment).await, [["eth1"], ["eth1"]]);
}
