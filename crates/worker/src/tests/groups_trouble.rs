//! Groups and trouble that is no order's fault: it costs those who need the device, and not n times.

use std::time::{Duration, Instant};

use turnup_core::{failure::FailureClass, lifecycle::OrderEvent, settle::order_event};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, PhantomLock};

use super::{
    groups::{assert_true, group, group_where, only},
    lab::*,
};
use crate::Settings;

fn count(report: &turnup_core::message::StateChange, device: usize, step: &str) -> usize {
    steps(report, device).into_iter().filter(|taken| *taken == step).count()
}

#[tokio::test]
async fn a_held_lock_is_waited_for_once_and_not_for_each_order() {
    let lab = Lab::start(2).await;
    let held = Some(PhantomLock::default());
    lab.behave(1, Behaviour { phantom_lock: held, ..Behaviour::default() }).await;
    // Every second one needs the second device only.
    let deployment = group(&lab, 64, |order| if order % 2 == 0 { vec![1, 2] } else { vec![2] }, &[]);
    let began = Instant::now();
    let report = lab.deploy(&deployment).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let busy: Vec<usize> = (0..64).step_by(2).collect();
    assert_eq!(assert_true(&lab, &deployment, &report), busy, "{report:#?}");
    for order in busy {
        assert_eq!(report.orders[order].failures[0].class, FailureClass::Busy, "{:?}", report.orders[order]);
    }
}

#[tokio::test]
async fn the_order_that_a_device_can_not_bear_is_found_and_the_others_go_through() {
    let lab = Lab::start(1).await;
    // All, then 0 and 1, then 2 alone, then 3: with 2 the connection is cut.
    let faults =
        vec![Fault::before("edit-config", Act::Drop).at(1), Fault::before("edit-config", Act::Drop).at(3)];
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let mut deployment = group(&lab, 4, |_| vec![1], &[]);
    deployment.limits.tries = 1;
    let report = lab.deploy(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), [2], "{report:#?}");
    assert_eq!(order_event(&report.orders[2].failures), OrderEvent::Failed);
}

#[tokio::test]
async fn a_device_that_answers_no_edit_is_left_alone_soon() {
    let lab = Lab::start(2).await;
    let faults = vec![Fault::before("edit-config", Act::Drop).at(0)];
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let mut deployment = group(&lab, 64, |order| if order < 60 { vec![1] } else { vec![2] }, &[]);
    deployment.limits.tries = 1;
    let report = lab.deploy(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), (0..60).collect::<Vec<_>>(), "{report:#?}");
    assert!(count(&report, 0, "edit-config") <= 9, "{report:#?}");
}

#[tokio::test]
async fn a_commit_without_answer_is_no_orders_fault() {
    let lab = Lab::start(1).await;
    let faults = vec![Fault::before("confirmed-commit", Act::Drop)];
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let deployment = group(&lab, 10, |_| vec![1], &[]);
    let report = lab.deploy(&deployment).await;
    assert!(assert_true(&lab, &deployment, &report).is_empty(), "{report:#?}");
}

/// After a crash a device doesn't answer: the orders that don't need it are deployed all the same.
#[tokio::test]
async fn a_device_that_can_not_be_read_back_does_not_use_up_the_time_of_the_others() {
    let lab = Lab::start(3).await;
    let on = |order: usize| if order == 0 { vec![1, 3] } else { vec![1, 2] };
    let mut deployment = group(&lab, 5, on, &[]);
    deployment.limits.total_timeout_ms = 16_000;
    deployment.limits.connect_timeout_ms = 500;
    lab.behave(3, Behaviour { down: true, ..Behaviour::default() }).await;
    let began = Instant::now();
    let report = lab.recover(&deployment).await;
    // Half of the time, and half of that is for going back: not all of it.
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    let failed = report.orders.iter().map(|order| !order.failures.is_empty()).collect::<Vec<_>>();
    assert_eq!(failed, [true, false, false, false, false], "{report:#?}");
}

#[tokio::test]
async fn what_one_worker_does_not_take_fails_only_those_who_want_it() {
    let lab = Lab::with(3, Settings { max_devices: 2, ..settings() }).await;
    let on = |order: usize| vec![vec![1], vec![1, 2], vec![1, 2, 3], vec![3]][order].clone();
    let deployment = group(&lab, 4, on, &[]);
    let report = lab.deploy(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), [2], "{report:#?}");
    assert!(report.orders[2].failures[0].message.contains("max_devices"));

    let lab = Lab::start(2).await;
    let mut deployment = group(&lab, 3, |order| if order == 1 { vec![1, 2] } else { vec![1] }, &[]);
    deployment.devices[1].platform = turnup_core::name::PlatformName::new("null").unwrap();
    let report = lab.deploy(&deployment).await;
    assert_eq!(assert_true(&lab, &deployment, &report), [1], "{report:#?}");
    assert!(report.orders[1].failures[0].message.contains("allow_null_platform"));
}

/// Some of a part were undone because of a device that fell silent in the middle, which they don't need.
#[tokio::test]
async fn who_was_undone_for_the_sake_of_others_is_tried_again() {
    let lab = Lab::start(3).await;
    // 0 and 1 need the device that goes down with its commit; 2 and 3 don't.
    let on = |order: usize| if order < 2 { vec![1, 3] } else { vec![1, 2] };
    let mut deployment = group_where(&lab, 4, on, |_, _| false);
    // The commit at 2 and 3 is over before that of 1, which is slow, and fails.
    deployment.limits.total_timeout_ms = 16_000;
    deployment.limits.connect_timeout_ms = 500;
    deployment.limits.confirm_timeout_s = 1;
    let faults = vec![Fault::before("confirmed-commit", Act::Drop)];
    lab.behave(3, Behaviour { faults, commit_delay_ms: 300, ..Behaviour::default() }).await;
    let down = async {
        while lab.device(1).running().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        lab.behave(3, Behaviour { down: true, ..Behaviour::default() }).await;
    };
    let (report, ()) = futures_util::future::join(lab.deploy(&deployment), down).await;
    let failed: Vec<bool> = report.orders.iter().map(|order| !order.failures.is_empty()).collect();
    assert_eq!(failed, [true, true, false, false], "{report:#?}");
    let known = only(&lab, &deployment, &[2, 3], &[1, 2]);
    assert!(known.devices.len() == 2 && lab.value(2).is_some());
}
