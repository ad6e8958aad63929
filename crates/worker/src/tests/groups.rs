//! Several orders in one deployment: one transaction for all of them, the guilty alone.

use std::time::Duration;

use turnup_core::{
    failure::FailureClass,
    id::OrderId,
    lifecycle::{DeploymentEvent, OrderEvent},
    message::{Condition, Deployment, DeviceEdit, InForce, Joint, StateChange},
    settle::{is_deployed, order_event},
};
use turnup_device_sim::{
    behaviour::{Act, Behaviour, Fault, Refusal},
    datastore::Kind,
};
use turnup_netconf::message::ErrorTag;
use uuid::Uuid;

use super::lab::*;

/// One unit of its own per order on the same port, and the port's description, which they share.
fn unit_edit(order: OrderId, unit: usize, vlan: usize) -> DeviceEdit {
    let config = |port: &str| {
        format!(
            r#"<interfaces xmlns="urn:turnup:sim" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"><interface><name>ge-0</name>{port}</interface></interfaces>"#
        )
    };
    let merge = config(&format!(
        "<description>shared</description><unit><id>{unit}</id><vlan-id>{vlan}</vlan-id></unit>"
    ));
    let only = |operation: &str| config(&format!("<unit{operation}><id>{unit}</id></unit>"));
    let joint = Joint {
        node: "/interfaces/interface[name='ge-0']/description".to_owned(),
        removal: config(r#"<description nc:operation="remove"/>"#),
    };
    DeviceEdit {
        order,
        edit: merge.clone(),
        inverse: only(r#" nc:operation="remove""#),
        filter: config(&format!("<description/><unit><id>{unit}</id></unit>")),
        after: Condition::Contains(merge),
        before: Condition::Lacks(only("")),
        keys: [("interface", "name"), ("unit", "id")]
            .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
            .into(),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: vec![joint],
        whole: None,
    }
}

/// So many orders, each on the devices that `on` says; `bad` ones have a VLAN that no device takes.
pub(super) fn group(lab: &Lab, orders: usize, on: impl Fn(usize) -> Vec<usize>, bad: &[usize]) -> Deployment {
    group_where(lab, orders, on, |order, _| bad.contains(&order))
}

/// The same, where it is `bad(order, device)`.
pub(super) fn group_where(
    lab: &Lab,
    orders: usize,
    on: impl Fn(usize) -> Vec<usize>,
    bad: impl Fn(usize, usize) -> bool,
) -> Deployment {
    let devices: std::collections::BTreeSet<usize> = (0..orders).flat_map(&on).collect();
    let at: Vec<usize> = devices.into_iter().collect();
    let mut deployment = lab.deployment(&at, "unused");
    deployment.orders = (0..orders).map(|_| OrderId(Uuid::now_v7())).collect();
    for (n, work) in at.iter().zip(&mut deployment.devices) {
        let own = deployment.orders.iter().enumerate().filter(|(order, _)| on(*order).contains(n));
        let vlan = |order| if bad(order, *n) { 5_000 } else { 1 + order };
        work.edits = own.map(|(order, id)| unit_edit(*id, 1 + order, vlan(order))).collect();
    }
    deployment
}

/// What is left of a deployment with these orders' edits at these devices only: what a worker has done that
/// died, or was cut short.
pub(super) fn only(lab: &Lab, deployment: &Deployment, orders: &[usize], at: &[usize]) -> Deployment {
    let mut some = deployment.clone();
    let ids: Vec<OrderId> = orders.iter().map(|order| deployment.orders[*order]).collect();
    some.orders.retain(|order| ids.contains(order));
    some.devices.retain(|work| at.iter().any(|n| lab.device(*n).name() == work.device.as_str()));
    some.devices.iter_mut().for_each(|work| work.edits.retain(|edit| ids.contains(&edit.order)));
    some
}

pub(super) fn has(lab: &Lab, device: usize, order: usize) -> bool {
    let path = format!("/interfaces/interface[name='ge-0']/unit[id='{}']/vlan-id", 1 + order);
    lab.device(device).running().contains_key(&path)
}

/// Provisional commits at the first device: each transaction that got so far has one.
fn commits(lab: &Lab) -> usize {
    let journal = lab.simulator.journal().unwrap();
    journal.iter().filter(|record| record.device == "sim-lab-1" && record.kind == Kind::Provisional).count()
}

/// That each order is in force where it wants to be or nowhere, that the report says so, and which were
/// refused.
pub(super) fn assert_true(lab: &Lab, deployment: &Deployment, report: &StateChange) -> Vec<usize> {
    let mut failed = Vec::new();
    for (order, (id, told)) in deployment.orders.iter().zip(&report.orders).enumerate() {
        assert_eq!(told.order, *id);
        let deployed = is_deployed(report.event, told, &report.devices);
        assert_eq!(deployed, told.failures.is_empty(), "{told:?}");
        if !deployed {
            failed.push(order);
        }
        for n in 1..=lab.simulator.devices().count() {
            let name = lab.device(n).name().to_owned();
            let Some(work) = deployment.devices.iter().find(|work| work.device.as_str() == name) else {
                continue;
            };
            if work.edits.iter().any(|edit| edit.order == *id) {
                assert_eq!(has(lab, n, order), deployed, "order {order} at {name}");
                let wanted = if deployed { InForce::New } else { InForce::Old };
                assert_eq!(told.in_force[&work.device], wanted);
            }
            lab.assert_clean(n);
        }
    }
    // What they hold together is there exactly where one of them is.
    for work in &deployment.devices {
        let n: usize = work.device.as_str().rsplit('-').next().unwrap().parse().unwrap();
        let any = (0..deployment.orders.len()).any(|order| has(lab, n, order));
        assert_eq!(lab.value(n).is_some(), any, "the shared description at {}", work.device);
    }
    failed
}

#[tokio::test]
async fn a_hundred_orders_at_one_device_are_one_commit() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { commit_delay_ms: 300, ..Behaviour::default() }).await;
    let deployment = group(&lab, 100, |_| vec![1], &[]);
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{:?}", report.orders.first());
    assert!(assert_true(&lab, &deployment, &report).is_empty());
    assert_eq!(commits(&lab), 1);
    assert_eq!(steps(&report, 0), ["connect", "lock", "edit-config", "commit", "confirm"]);
}

#[tokio::test]
async fn one_bad_among_a_hundred_ends_alone_whatever_the_device_says_of_it() {
    for (bad, names_it) in [(0, false), (63, false), (99, true)] {
        let lab = Lab::start(2).await;
        let mut deployment = group(&lab, 100, |_| vec![1, 2], &[bad]);
        if !names_it {
            // So the error-path fits no edit.
            let id = format!("<id>{}</id>", bad + 1);
            for work in &mut deployment.devices {
                let hidden = format!("<id><!-- -->{}</id>", bad + 1);
                work.edits[bad].edit = work.edits[bad].edit.replace(&id, &hidden);
            }
        }
        let report = lab.deploy(&deployment).await;
        assert_eq!(report.event, DeploymentEvent::PartlyCommitted, "{report:?}");
        assert_eq!(assert_true(&lab, &deployment, &report), [bad]);
        assert_eq!(order_event(&report.orders[bad].failures), OrderEvent::Invalid);
        assert_eq!(report.devices[0].in_force, InForce::Partly);
        assert!(commits(&lab) <= 10, "{} commits", commits(&lab));
    }
}

#[tokio::test]
async fn a_refusal_at_the_commit_is_searched_for_too() {
    let lab = Lab::start(1).await;
    // Each provisional commit with the bad order is refused: the first, and then as the search goes.
    let deployment = group(&lab, 8, |_| vec![1], &[]);
    let refuse = || Act::Refuse(Refusal::new(ErrorTag::DataExists));
    // 8 bad, 0-3 good, 4-5 good, 6 good, 7 alone bad.
    let faults = vec![
        Fault::before("confirmed-commit", refuse()).at(1),
        Fault::before("confirmed-commit", refuse()).at(5),
    ];
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let report = lab.deploy(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), [7], "{report:?}");
    assert_eq!(commits(&lab), 3);
}

#[tokio::test]
async fn a_device_that_is_down_fails_those_that_need_it_and_no_others() {
    let lab = Lab::start(3).await;
    lab.behave(3, Behaviour { down: true, ..Behaviour::default() }).await;
    // All at the first; every second one also at 2 or 3.
    let on = |order: usize| vec![1, [2, 3][order % 2]];
    let mut deployment = group(&lab, 10, on, &[4]);
    deployment.limits.tries = 1;
    let report = lab.deploy(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), [1, 3, 4, 5, 7, 9], "{report:?}");
    let events: Vec<OrderEvent> = report.orders.iter().map(|order| order_event(&order.failures)).collect();
    assert_eq!(
        (events[1], events[4], events[9]),
        (OrderEvent::Failed, OrderEvent::Invalid, OrderEvent::Failed)
    );
    assert_eq!(report.event, DeploymentEvent::PartlyCommitted);
    assert_eq!(
        report.devices.iter().map(|d| d.in_force).collect::<Vec<_>>(),
        [InForce::Partly, InForce::Partly, InForce::Old]
    );
}

#[tokio::test]
async fn a_device_that_refuses_everything_is_not_asked_for_ever() {
    let lab = Lab::start(1).await;
    let refuse = Act::Refuse(Refusal::new(ErrorTag::ResourceDenied));
    let faults = vec![Fault::before("edit-config", refuse).at(0)];
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let mut deployment = group(&lab, 64, |_| vec![1], &[]);
    deployment.limits.tries = 1;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:?}");
    assert_eq!(assert_true(&lab, &deployment, &report).len(), 64);
    assert!(report.orders.iter().all(|order| order_event(&order.failures) == OrderEvent::Failed));
    assert!(steps(&report, 0).iter().filter(|step| **step == "edit-config").count() <= 20, "{report:?}");
}

#[tokio::test]
async fn a_confirm_without_answer_is_read_back_for_all_orders() {
    let lab = Lab::start(2).await;
    let faults = vec![Fault::before("confirming-commit", Act::Drop)];
    lab.behave(2, Behaviour { faults, ..Behaviour::default() }).await;
    let deployment = group(&lab, 4, |_| vec![1, 2], &[]);
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:?}");
    assert!(assert_true(&lab, &deployment, &report).is_empty());
}

#[tokio::test]
async fn the_next_worker_goes_on_wherever_the_one_before_died() {
    for (stage, at) in [
        (Stage::Prepared, vec![1]),
        (Stage::Committed, vec![1]),
        (Stage::Committed, vec![1, 2]),
        (Stage::Confirmed, vec![1]),
        (Stage::Confirmed, vec![1, 2]),
    ] {
        let lab = Lab::start(2).await;
        let deployment = group(&lab, 10, |_| vec![1, 2], &[7]);
        // The one before had put the first half in force, and died with the order after it.
        let first: Vec<OrderId> = deployment.orders[..5].to_vec();
        let mut half = deployment.clone();
        half.orders.truncate(5);
        half.devices.iter_mut().for_each(|work| work.edits.retain(|edit| first.contains(&edit.order)));
        assert_eq!(lab.deploy(&half).await.event, DeploymentEvent::Committed);
        let mut next = deployment.clone();
        next.devices.iter_mut().for_each(|work| work.edits.retain(|edit| edit.order == deployment.orders[5]));
        for n in &at {
            lab.leave(*n, &next, stage).await;
        }
        let before = commits(&lab);
        let report = lab.recover(&deployment).await;
        assert_eq!(assert_true(&lab, &deployment, &report), [7], "{stage:?} {at:?} {report:?}");
        assert_eq!(report.event, DeploymentEvent::PartlyCommitted);
        assert!(commits(&lab) - before <= 6, "what is in force isn't deployed again");
    }
}

#[tokio::test]
async fn who_loses_the_delivery_between_two_parts_takes_back_what_is_in_hand() {
    let lab = Lab::start(2).await;
    let deployment = group(&lab, 8, |_| vec![1, 2], &[0]);
    // While the second is still at it, the first shows that the second part has begun.
    lab.behave(2, Behaviour { commit_delay_ms: 400, ..Behaviour::default() }).await;
    let lose = async {
        while commits(&lab) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.held.store(false, std::sync::atomic::Ordering::SeqCst);
    };
    let (outcome, ()) = futures_util::future::join(lab.run(&deployment, false), lose).await;
    assert!(matches!(outcome, crate::deploy::Outcome::Release), "{outcome:?}");
    lab.assert_clean(1);
    lab.assert_clean(2);
    // Whoever gets it next finishes it.
    lab.held.store(true, std::sync::atomic::Ordering::SeqCst);
    lab.behave(2, Behaviour::default()).await;
    let report = lab.recover(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), [0], "{report:?}");
}

#[tokio::test]
async fn what_is_no_configuration_is_refused_for_its_order_alone() {
    let lab = Lab::start(1).await;
    let mut deployment = group(&lab, 3, |_| vec![1], &[]);
    deployment.devices[0].edits[1].edit = "<a>".to_owned();
    let report = lab.deploy(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), [1], "{report:?}");
    assert_eq!(report.orders[1].failures[0].class, FailureClass::Misconfigured);
}
