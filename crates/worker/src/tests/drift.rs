//! Services that were changed by hand before a modify order came: found under the lock, and refused, repaired along or
//! left, as the definition says.

use std::time::Duration;

use futures_util::future::join_all;
use turnup_core::{
    audit::ConfigAudit,
    drift::{OnDrift, WholeService},
    failure::{Failure, FailureClass},
    id::OrderId,
    lifecycle::{DeploymentEvent, OrderEvent},
    message::{Condition, Deployment, DeviceEdit, InForce, Stage, StateChange},
    name::PlatformName,
    profile::{Profile, Profiles},
    settle::{is_deployed, order_event},
};
use turnup_device_sim::{
    Personality,
    behaviour::{Act, Behaviour, Fault, Refusal},
    datastore::Holds,
};
use turnup_netconf::message::ErrorTag;
use uuid::Uuid;

use super::{
    lab::{self, *},
    methods::{KINDS, committing, faulty, playing},
};

/// The service's units on port `ge-0`, by id.
fn unit(id: usize, operation: &str, inside: &str) -> String {
    format!(
        r#"<interfaces xmlns="urn:turnup:sim" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"><interface><name>ge-0</name><unit{operation}><id>{id}</id>{inside}</unit></interface></interfaces>"#
    )
}

fn path(id: usize) -> String {
    format!("/interfaces/interface[name='ge-0']/unit[id='{id}']")
}

/// Takes the VLAN of a unit from 8 to 9; an MTU of 1500 stays. With `changes: false` nothing is to be changed.
fn modify(order: OrderId, id: usize, on_drift: OnDrift, changes: bool) -> DeviceEdit {
    let vlan = |vlan: u32| unit(id, "", &format!("<vlan-id>{vlan}</vlan-id>"));
    let all = |vlan: u32| format!("<vlan-id>{vlan}</vlan-id><mtu>1500</mtu>");
    let whole = WholeService {
        before: unit(id, "", &all(8)),
        rewrite: Some(unit(id, r#" nc:operation="replace""#, &all(if changes { 9 } else { 8 }))),
        owned: vec![path(id)],
        inside: turnup_core::nodes::NodeFacts::default(),
        on_drift,
    };
    let text = |text: String| if changes { text } else { String::new() };
    let condition = |vlan: String| match changes {
        true => Condition::Contains(vlan),
        false => Condition::All(Vec::new()),
    };
    DeviceEdit {
        order,
        edit: text(vlan(9)),
        inverse: text(vlan(8)),
        filter: unit(id, "", ""),
        after: condition(vlan(9)),
        before: condition(vlan(8)),
        keys: [("interface", "name"), ("unit", "id")]
            .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
            .into(),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: Vec::new(),
        whole: Some(Box::new(whole)),
    }
}

/// Devices with the service on them, and a deployment that modifies it on each.
fn service(lab: &Lab, at: &[usize], on_drift: OnDrift) -> Deployment {
    for n in at {
        by_hand(lab, *n, "", "<vlan-id>8</vlan-id><mtu>1500</mtu>");
    }
    let mut deployment = lab.deployment(at, "unused");
    let order = deployment.orders[0];
    for work in &mut deployment.devices {
        work.edits = vec![modify(order, 7, on_drift, true)];
    }
    deployment
}

/// The same, where the device at this place is only looked at.
fn reading(lab: &Lab, at: &[usize], place: usize, on_drift: OnDrift) -> Deployment {
    let mut deployment = service(lab, at, on_drift);
    deployment.devices[place].edits = vec![modify(deployment.orders[0], 7, on_drift, false)];
    deployment
}

fn by_hand(lab: &Lab, n: usize, operation: &str, inside: &str) {
    lab.device(n).edit_running(&unit(7, operation, inside)).unwrap();
}

/// VLAN and MTU, where nothing is left of a deployment.
fn found(lab: &Lab, n: usize) -> [Option<String>; 2] {
    lab.assert_clean(n);
    in_running(lab, n)
}

fn in_running(lab: &Lab, n: usize) -> [Option<String>; 2] {
    let running = lab.device(n).running();
    ["vlan-id", "mtu"].map(|leaf| running.get(&format!("{}/{leaf}", path(7))).map(|value| value.to_string()))
}

fn values(vlan: &str, mtu: &str) -> [Option<String>; 2] {
    [vlan, mtu].map(|value| Some(value.to_owned()).filter(|value| !value.is_empty()))
}

fn drift_of(report: &StateChange, device: usize) -> &Failure {
    let failures = &report.devices[device].failures;
    failures.iter().find(|failure| failure.phase == "drift").unwrap_or_else(|| panic!("{report:#?}"))
}

/// Each personality with the shipped profile of its name. Timers that count minutes count seconds here.
fn personalities() -> impl Iterator<Item = (Personality, Profile)> {
    let profiles = Profiles::shipped().unwrap();
    Personality::ALL.into_iter().map(move |personality| {
        let own = PlatformName::new(personality.name).map(|name| profiles.of(&name)).unwrap_or_default();
        let personality = Personality { timeout_unit: Duration::from_secs(1), ..personality };
        (personality, Profile { confirm_timeout_step_s: 0, ..own })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_as_it_was_left_is_modified_on_every_personality() {
    join_all(personalities().map(async |(personality, profile)| {
        let lab = Lab::of_personality(2, personality, profile).await;
        let report = lab.deploy(&service(&lab, &[1, 2], OnDrift::Refuse)).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{}: {report:#?}", personality.name);
        assert_eq!([found(&lab, 1), found(&lab, 2)], [values("9", "1500"), values("9", "1500")]);
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_on_one_device_refuses_the_order_on_all() {
    join_all(personalities().map(async |(personality, profile)| {
        let lab = Lab::of_personality(2, personality, profile).await;
        let deployment = service(&lab, &[1, 2], OnDrift::Refuse);
        by_hand(&lab, 2, "", "<mtu>9000</mtu>");
        let report = lab.deploy(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Rejected, "{}: {report:#?}", personality.name);
        assert_eq!(in_force(&report), [InForce::Old; 2]);
        assert_eq!(order_event(&report.orders[0].failures), OrderEvent::Invalid);
        let failure = drift_of(&report, 1);
        assert_eq!(failure.path, Some(format!("{}/mtu", path(7))));
        assert!(failure.message.contains("is \"9000\" instead of \"1500\""), "{failure:?}");
        assert!(failure.message.contains("turnup service redeploy"), "it says what to do: {failure:?}");
        assert_eq!([in_running(&lab, 1), in_running(&lab, 2)], [values("8", "1500"), values("8", "9000")]);
        // The candidate of some servers does not follow what is edited by hand.
        for n in [1, 2] {
            let holds = Holds { candidate_is_changed: false, ..lab.device(n).holds() };
            assert!(holds.is_nothing(), "{}: device {n} holds {holds:?}", personality.name);
        }
        let journal = lab.simulator.journal().unwrap();
        let commits = journal.iter().filter(|record| record.device == "sim-lab-2" && record.session != 0);
        assert_eq!(commits.count(), 0, "{}: nothing was committed there", personality.name);
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_is_found_whatever_it_is() {
    for (what, operation, inside, vlan, mtu) in [
        ("changed", "", "<mtu>9000</mtu>", "8", "9000"),
        ("missing", "", r#"<mtu nc:operation="remove"/>"#, "8", ""),
        ("extra", "", "<description>by hand</description>", "8", "1500"),
        ("all gone", r#" nc:operation="remove""#, "", "", ""),
        ("the leaf that the order changes", "", "<vlan-id>77</vlan-id>", "77", "1500"),
    ] {
        let lab = Lab::start(1).await;
        let deployment = service(&lab, &[1], OnDrift::Refuse);
        by_hand(&lab, 1, operation, inside);
        let report = lab.deploy(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Rejected, "{what}: {report:#?}");
        drift_of(&report, 0);
        assert_eq!(found(&lab, 1), values(vlan, mtu), "{what}");
    }
}

#[tokio::test]
async fn change_that_the_order_wants_and_somebody_has_made_already_is_no_drift() {
    let lab = Lab::start(1).await;
    let deployment = service(&lab, &[1], OnDrift::Refuse);
    by_hand(&lab, 1, "", "<vlan-id>9</vlan-id>");
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(found(&lab, 1), values("9", "1500"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_is_repaired_along_by_every_method() {
    for (kind, _) in KINDS {
        let lab = Lab::start(2).await;
        lab.behave(2, playing(kind)).await;
        let deployment = service(&lab, &[1, 2], OnDrift::Repair);
        by_hand(&lab, 2, "", r#"<mtu nc:operation="remove"/><description>by hand</description>"#);
        let report = lab.deploy(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{kind:?}: {report:#?}");
        assert_eq!([found(&lab, 1), found(&lab, 2)], [values("9", "1500"), values("9", "1500")], "{kind:?}");
        assert!(!lab.device(2).running().contains_key(&format!("{}/description", path(7))), "{kind:?}");
        let remarks = &report.devices[1].remarks;
        assert!(remarks.iter().any(|remark| remark.contains("repaired along")), "{remarks:?}");
        assert!(report.devices[0].remarks.is_empty(), "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repair_is_taken_back_to_what_was_found() {
    for (kind, _) in KINDS {
        let lab = Lab::start(2).await;
        let deployment = service(&lab, &[1, 2], OnDrift::Repair);
        by_hand(&lab, 1, "", r#"<mtu nc:operation="remove"/><description>by hand</description>"#);
        lab.behave(1, playing(kind)).await;
        let refusal = committing(
            turnup_device_sim::Profile::Candidate,
            turnup_device_sim::behaviour::Moment::Before,
            Act::Refuse(Refusal::new(ErrorTag::DataExists)),
        );
        lab.behave(2, faulty(turnup_device_sim::Profile::Candidate, vec![refusal])).await;
        let report = lab.deploy(&deployment).await;
        assert_eq!(in_force(&report), [InForce::Old; 2], "{kind:?}: {report:#?}");
        assert_eq!([found(&lab, 1), found(&lab, 2)], [values("8", ""), values("8", "1500")], "{kind:?}");
        let description = lab.device(1).running().get(&format!("{}/description", path(7))).cloned();
        assert_eq!(description.map(|it| it.to_string()).as_deref(), Some("by hand"), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_proceeds_beside_drift_and_tells_of_it() {
    for (kind, _) in KINDS {
        let lab = Lab::start(2).await;
        lab.behave(2, playing(kind)).await;
        let deployment = service(&lab, &[1, 2], OnDrift::Proceed);
        by_hand(&lab, 2, "", "<mtu>9000</mtu>");
        let report = lab.deploy(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{kind:?}: {report:#?}");
        assert_eq!([found(&lab, 1), found(&lab, 2)], [values("9", "1500"), values("9", "9000")], "{kind:?}");
        let audits: Vec<ConfigAudit> =
            report.devices.iter().map(|device| device.audit.as_ref().unwrap().config).collect();
        assert_eq!(audits, [ConfigAudit::InSync, ConfigAudit::Drifted], "{kind:?}");
        let audit = report.devices[1].audit.as_ref().unwrap();
        assert_eq!((audit.differences.len(), audit.differences_in_all), (1, 1), "{audit:?}");
        assert_eq!(
            audit.differences[0].to_string(),
            format!("{}/mtu is \"9000\" instead of \"1500\"", path(7))
        );
    }
}

#[tokio::test]
async fn drift_that_the_change_itself_overwrites_is_not_left() {
    let lab = Lab::start(1).await;
    let deployment = service(&lab, &[1], OnDrift::Proceed);
    by_hand(&lab, 1, "", "<vlan-id>77</vlan-id>");
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(found(&lab, 1), values("9", "1500"));
    assert_eq!(report.devices[0].audit.as_ref().unwrap().config, ConfigAudit::InSync, "{report:#?}");
}

/// The other half of the service is lost by the commit itself: servers exist that drop what they don't like.
#[tokio::test]
async fn service_that_is_not_whole_after_the_commit_is_undone() {
    for on_drift in OnDrift::ALL {
        let lab = Lab::start(1).await;
        let mut deployment = service(&lab, &[1], *on_drift);
        // The edit takes away what the service is to keep.
        let edit = &mut deployment.devices[0].edits[0];
        edit.edit = unit(7, "", r#"<vlan-id>9</vlan-id><mtu nc:operation="remove"/>"#);
        let report = lab.deploy(&deployment).await;
        assert_eq!(in_force(&report), [InForce::Old], "{report:#?}");
        assert_eq!(classes(&report, 0), [FailureClass::BrokenPeer], "{report:#?}");
        assert!(report.devices[0].failures[0].message.contains("mtu is missing"), "{report:#?}");
        assert_eq!(found(&lab, 1), values("8", "1500"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn device_that_is_only_read_is_not_committed_to() {
    for (kind, _) in KINDS {
        let lab = Lab::start(2).await;
        let deployment = reading(&lab, &[1, 2], 1, OnDrift::Refuse);
        lab.behave(2, playing(kind)).await;
        let before = lab.simulator.journal().unwrap().len();
        let report = lab.deploy(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{kind:?}: {report:#?}");
        assert_eq!([found(&lab, 1), found(&lab, 2)], [values("9", "1500"), values("8", "1500")]);
        assert_eq!(report.devices[1].guarantee, None, "it was not changed");
        let journal = lab.simulator.journal().unwrap();
        assert!(journal[before..].iter().all(|record| record.device != "sim-lab-2"), "{kind:?}");
        assert!(lab.device(2).holds().is_nothing(), "{kind:?}: the locks are given back");

        by_hand(&lab, 2, "", "<mtu>9000</mtu>");
        let again = Deployment { deployment: turnup_core::id::DeploymentId(Uuid::now_v7()), ..deployment };
        let report = lab.deploy(&again).await;
        assert_eq!(report.event, DeploymentEvent::Rejected, "{kind:?}: {report:#?}");
        drift_of(&report, 1);
        assert_eq!(in_force(&report), [InForce::Old; 2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn device_that_is_only_read_is_repaired_and_taken_back() {
    for (kind, _) in KINDS {
        for refused in [false, true] {
            let lab = Lab::start(2).await;
            let deployment = reading(&lab, &[1, 2], 0, OnDrift::Repair);
            by_hand(&lab, 1, "", "<mtu>9000</mtu>");
            lab.behave(1, playing(kind)).await;
            let faults = match refused {
                true => vec![committing(
                    turnup_device_sim::Profile::Candidate,
                    turnup_device_sim::behaviour::Moment::Before,
                    Act::Refuse(Refusal::new(ErrorTag::DataExists)),
                )],
                false => Vec::new(),
            };
            lab.behave(2, faulty(turnup_device_sim::Profile::Candidate, faults)).await;
            let report = lab.deploy(&deployment).await;
            let (in_force_now, values_now) = match refused {
                true => (InForce::Old, [values("8", "9000"), values("8", "1500")]),
                false => (InForce::New, [values("8", "1500"), values("9", "1500")]),
            };
            assert_eq!(in_force(&report), [in_force_now; 2], "{kind:?} {refused}: {report:#?}");
            assert_eq!([found(&lab, 1), found(&lab, 2)], values_now, "{kind:?} {refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drifted_order_of_a_group_is_refused_alone() {
    for (on_drift, reads) in [(OnDrift::Refuse, false), (OnDrift::Refuse, true), (OnDrift::Proceed, false)] {
        let lab = Lab::start(2).await;
        let mut deployment = lab.deployment(&[1, 2], "unused");
        deployment.orders = (0..9).map(|_| OrderId(Uuid::now_v7())).collect();
        let drifted = 5;
        for id in 1..=9 {
            for n in [1, 2] {
                let has = unit(id, "", "<vlan-id>8</vlan-id><mtu>1500</mtu>");
                lab.device(n).edit_running(&has).unwrap();
            }
        }
        for (n, work) in deployment.devices.iter_mut().enumerate() {
            let orders = deployment.orders.iter().enumerate();
            let edits = orders.map(|(at, order)| modify(*order, at + 1, on_drift, !(reads && n == 1)));
            work.edits = edits.collect();
        }
        lab.device(2).edit_running(&unit(drifted + 1, "", "<mtu>9000</mtu>")).unwrap();
        let report = lab.deploy(&deployment).await;
        for (at, (order, told)) in deployment.orders.iter().zip(&report.orders).enumerate() {
            assert_eq!(told.order, *order);
            let is_refused = at == drifted && on_drift == OnDrift::Refuse;
            assert_eq!(is_deployed(report.event, told, &report.devices), !is_refused, "{at}: {told:#?}");
            let vlan = lab.device(1).running().get(&format!("{}/vlan-id", path(at + 1))).cloned();
            let vlan = vlan.map(|vlan| vlan.to_string());
            assert_eq!(vlan.as_deref(), Some(if is_refused { "8" } else { "9" }), "{at}");
            let drifts = told.audits.values().filter(|audit| audit.config == ConfigAudit::Drifted).count();
            assert_eq!(drifts, usize::from(at == drifted && on_drift == OnDrift::Proceed), "{told:#?}");
        }
        let failed = &report.orders[drifted].failures;
        if on_drift == OnDrift::Refuse {
            assert!(failed.iter().any(|failure| failure.phase == "drift"), "{failed:#?}");
            assert_eq!(order_event(failed), OrderEvent::Invalid);
        }
        let device = &report.devices[1];
        assert_eq!(device.in_force == InForce::Partly, on_drift == OnDrift::Refuse, "{device:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_change_of_an_earlier_worker_is_no_drift() {
    for on_drift in OnDrift::ALL {
        for stage in [lab::Stage::Prepared, lab::Stage::Committed, lab::Stage::Confirmed] {
            let lab = Lab::start(2).await;
            let deployment = service(&lab, &[1, 2], *on_drift);
            if *on_drift == OnDrift::Proceed {
                by_hand(&lab, 1, "", "<mtu>9000</mtu>");
            }
            for n in [1, 2] {
                lab.leave(n, &deployment, stage).await;
            }
            let report = lab.recover(&deployment).await;
            assert_eq!(report.event, DeploymentEvent::Committed, "{on_drift} {stage:?}: {report:#?}");
            let mtu = if *on_drift == OnDrift::Proceed { "9000" } else { "1500" };
            assert_eq!([found(&lab, 1), found(&lab, 2)], [values("9", mtu), values("9", "1500")]);
            let audit = report.devices[0].audit.as_ref().map(|audit| audit.config);
            let wanted = (*on_drift == OnDrift::Proceed).then_some(ConfigAudit::Drifted);
            assert_eq!(audit, wanted, "{stage:?}: {report:#?}");
        }
    }
}

/// One device has it for good, the other is as before and is only read, or changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_goes_forward_past_devices_that_are_only_read() {
    for on_drift in OnDrift::ALL {
        let lab = Lab::start(2).await;
        let deployment = reading(&lab, &[1, 2], 1, *on_drift);
        lab.leave(1, &deployment, lab::Stage::Confirmed).await;
        let report = lab.recover(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{on_drift}: {report:#?}");
        assert_eq!([found(&lab, 1), found(&lab, 2)], [values("9", "1500"), values("8", "1500")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_of_an_earlier_worker_is_found_with_devices_that_are_only_read() {
    let lab = Lab::start(2).await;
    let mut deployment = lab.deployment(&[1, 2], "unused");
    deployment.orders = (0..3).map(|_| OrderId(Uuid::now_v7())).collect();
    for id in 1..=3 {
        for n in [1, 2] {
            lab.device(n).edit_running(&unit(id, "", "<vlan-id>8</vlan-id><mtu>1500</mtu>")).unwrap();
        }
    }
    for (n, work) in deployment.devices.iter_mut().enumerate() {
        let orders = deployment.orders.iter().enumerate();
        let edits = orders.map(|(at, order)| modify(*order, at + 1, OnDrift::Refuse, n == 0));
        work.edits = edits.collect();
    }
    // The first order was confirmed, the others were not begun.
    lab.device(1).edit_running(&unit(1, "", "<vlan-id>9</vlan-id>")).unwrap();
    let report = lab.recover(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    for told in &report.orders {
        assert!(told.failures.is_empty() && told.in_force.values().all(|found| *found == InForce::New));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_region_judges_when_it_prepares() {
    for (on_drift, reads) in [
        (OnDrift::Refuse, false),
        (OnDrift::Refuse, true),
        (OnDrift::Repair, false),
        (OnDrift::Repair, true),
        (OnDrift::Proceed, false),
        (OnDrift::Proceed, true),
    ] {
        for confirms in [true, false] {
            for drifts in [true, false] {
                let context = format!("{on_drift} reads {reads} confirms {confirms} drifts {drifts}");
                let lab = Lab::start(1).await;
                let deployment = match reads {
                    true => reading(&lab, &[1], 0, on_drift),
                    false => service(&lab, &[1], on_drift),
                };
                if drifts {
                    by_hand(&lab, 1, "", "<mtu>9000</mtu>");
                }
                let mtu = |repaired: bool| match drifts && !(repaired && on_drift == OnDrift::Repair) {
                    true => "9000",
                    false => "1500",
                };
                let report = lab.stage(&deployment, Stage::Prepare, false).await;
                if on_drift == OnDrift::Refuse && drifts {
                    assert_eq!(report.event, DeploymentEvent::Rejected, "{context}: {report:#?}");
                    drift_of(&report, 0);
                    assert_eq!(found(&lab, 1), values("8", "9000"), "{context}");
                    continue;
                }
                assert_eq!(report.event, DeploymentEvent::Prepared, "{context}: {report:#?}");
                // By another worker.
                if confirms {
                    let report = lab.stage(&deployment, Stage::Confirm, false).await;
                    assert_eq!(report.event, DeploymentEvent::Confirmed, "{context}: {report:#?}");
                    assert_eq!(found(&lab, 1), values(if reads { "8" } else { "9" }, mtu(true)), "{context}");
                } else {
                    let report = lab.stage(&deployment, Stage::Undo, false).await;
                    assert_eq!(in_force(&report), [InForce::Old], "{context}: {report:#?}");
                    assert_eq!(found(&lab, 1), values("8", mtu(false)), "{context}");
                }
            }
        }
    }
}

#[tokio::test]
async fn repair_that_went_back_before_the_decision_is_made_again() {
    let lab = Lab::start(1).await;
    let mut deployment = reading(&lab, &[1], 0, OnDrift::Repair);
    deployment.limits.confirm_timeout_s = 1;
    by_hand(&lab, 1, "", "<mtu>9000</mtu>");
    let report = lab.stage(&deployment, Stage::Prepare, false).await;
    assert_eq!(report.event, DeploymentEvent::Prepared, "{report:#?}");
    let gone_back = async {
        while lab.device(1).has_pending_commit() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone_back).await.unwrap();
    assert_eq!(found(&lab, 1), values("8", "9000"));
    let report = lab.stage(&deployment, Stage::Confirm, false).await;
    assert_eq!(report.event, DeploymentEvent::Confirmed, "{report:#?}");
    assert_eq!(found(&lab, 1), values("8", "1500"));
}

#[tokio::test]
async fn repair_that_a_worker_left_pending_is_found() {
    for stage in [lab::Stage::Committed, lab::Stage::Confirmed] {
        let lab = Lab::start(1).await;
        let deployment = reading(&lab, &[1], 0, OnDrift::Repair);
        by_hand(&lab, 1, "", "<mtu>9000</mtu>");
        // What the worker that died had made of it.
        let mut repaired = deployment.clone();
        let edit = &mut repaired.devices[0].edits[0];
        edit.edit = edit.whole.as_ref().unwrap().rewrite.clone().unwrap();
        lab.leave(1, &repaired, stage).await;
        let report = lab.recover(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{stage:?}: {report:#?}");
        assert_eq!(found(&lab, 1), values("8", "1500"), "{stage:?}");
    }
}

#[tokio::test]
async fn answer_that_is_lost_does_not_hide_what_is_left_of_drift() {
    let kind = turnup_device_sim::Profile::Candidate;
    let lab = Lab::start(1).await;
    let deployment = service(&lab, &[1], OnDrift::Proceed);
    by_hand(&lab, 1, "", "<mtu>9000</mtu>");
    let drop = committing(kind, turnup_device_sim::behaviour::Moment::After, Act::Drop);
    lab.behave(1, Behaviour { profile: kind, faults: vec![drop], ..Behaviour::default() }).await;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(report.devices[0].audit.as_ref().unwrap().config, ConfigAudit::Drifted);
}

#[tokio::test]
async fn device_that_is_only_read_and_away_fails_the_order() {
    let lab = Lab::start(2).await;
    let mut deployment = reading(&lab, &[1, 2], 1, OnDrift::Refuse);
    deployment.limits.tries = 1;
    lab.behave(2, Behaviour { faults: vec![Fault::before("get-config", Act::Drop)], ..Behaviour::default() })
        .await;
    let report = lab.deploy(&deployment).await;
    assert_eq!(in_force(&report), [InForce::Old; 2], "{report:#?}");
    assert_eq!(classes(&report, 1), [FailureClass::Unreachable], "{report:#?}");
    lab.behave(2, Behaviour::default()).await;
    assert_eq!([found(&lab, 1), found(&lab, 2)], [values("8", "1500"), values("8", "1500")]);
}
