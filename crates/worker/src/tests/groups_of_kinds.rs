//! Groups on devices of every kind: also where what was done is taken back by the inverse edit, each order is in
//! force everywhere or nowhere, and what several hold together is there as long as one of them is.

use futures_util::{StreamExt as _, stream};
use turnup_core::{lifecycle::DeploymentEvent, message::InForce};
use turnup_device_sim::{
    Profile,
    behaviour::{Act, Moment, Refusal},
};
use turnup_netconf::message::ErrorTag;

use super::{
    groups::{assert_true, group, group_where, has, only},
    lab::*,
    methods::{KINDS, committing, faulty, playing},
};

fn pairs() -> impl Iterator<Item = (Profile, Profile)> {
    KINDS.into_iter().flat_map(|(a, _)| KINDS.map(|(b, _)| (a, b)))
}

async fn lab(a: Profile, b: Profile) -> Lab {
    let lab = Lab::start(2).await;
    lab.behave(1, playing(a)).await;
    lab.behave(2, playing(b)).await;
    lab
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guilty_end_alone_on_any_two_kinds() {
    let runs = stream::iter(pairs()).for_each_concurrent(4, |(a, b)| async move {
        let lab = lab(a, b).await;
        // 2 and 5 are refused by the second device only, the first has had them.
        let deployment =
            group_where(&lab, 8, |_| vec![1, 2], |order, device| device == 2 && [2, 5].contains(&order));
        let report = lab.deploy(&deployment).await;
        assert_eq!(assert_true(&lab, &deployment, &report), [2, 5], "{a:?} {b:?} {report:#?}");
        assert_eq!(report.event, DeploymentEvent::PartlyCommitted, "{a:?} {b:?}");
    });
    runs.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_group_that_is_refused_altogether_nothing_is_left_on_any_two_kinds() {
    let runs = stream::iter(pairs()).for_each_concurrent(4, |(a, b)| async move {
        let lab = lab(a, b).await;
        let deployment = group_where(&lab, 3, |_| vec![1, 2], |_, device| device == 2);
        let report = lab.deploy(&deployment).await;
        assert_eq!(assert_true(&lab, &deployment, &report), [0, 1, 2], "{a:?} {b:?} {report:#?}");
        assert_eq!(report.event, DeploymentEvent::Rejected, "{a:?} {b:?}");
    });
    runs.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_refused_once_costs_nobody_anything_on_any_two_kinds() {
    let runs = stream::iter(pairs()).for_each_concurrent(4, |(a, b)| async move {
        for act in [Act::Refuse(Refusal::new(ErrorTag::ResourceDenied)), Act::Drop] {
            let lab = lab(a, Profile::Full).await;
            lab.behave(2, faulty(b, vec![committing(b, Moment::Before, act.clone())])).await;
            let mut deployment = group(&lab, 4, |_| vec![1, 2], &[]);
            deployment.limits.confirm_timeout_s = 4;
            let report = lab.deploy(&deployment).await;
            let say = format!("{a:?} {b:?} {act:?} {report:#?}");
            assert!(assert_true(&lab, &deployment, &report).is_empty(), "{say}");
            assert_eq!(report.event, DeploymentEvent::Committed, "{say}");
        }
    });
    runs.await;
}

/// The worker before has put two orders in force at the first device, and died before the second, which
/// refuses one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_worker_takes_back_what_can_not_be_everywhere_on_any_two_kinds() {
    let runs = stream::iter(pairs()).for_each_concurrent(8, |(a, b)| async move {
        let lab = lab(a, b).await;
        let mut deployment = group_where(&lab, 6, |_| vec![1, 2], |order, device| device == 2 && order == 3);
        deployment.limits.confirm_timeout_s = 2;
        let done = lab.deploy(&only(&lab, &deployment, &[0], &[1, 2])).await;
        assert_eq!(done.event, DeploymentEvent::Committed);
        let half = lab.deploy(&only(&lab, &deployment, &[1, 3], &[1])).await;
        assert_eq!(half.event, DeploymentEvent::Committed, "{a:?} {half:#?}");
        let report = lab.recover(&deployment).await;
        assert_eq!(assert_true(&lab, &deployment, &report), [3], "{a:?} {b:?} {report:#?}");
    });
    runs.await;
}

/// Two orders are in force at one device each, at another one each: they come from two transactions, one of
/// which went wrong before its worker died. So they are not brought to an end together.
#[tokio::test]
async fn what_went_wrong_apart_is_brought_to_an_end_apart() {
    let lab = Lab::start(3).await;
    let on = |order: usize| if order == 0 { vec![1, 2] } else { vec![1, 3] };
    let deployment = group_where(&lab, 2, on, |order, device| order == 1 && device == 3);
    assert_eq!(lab.deploy(&only(&lab, &deployment, &[0], &[2])).await.event, DeploymentEvent::Committed);
    assert_eq!(lab.deploy(&only(&lab, &deployment, &[1], &[1])).await.event, DeploymentEvent::Committed);
    let report = lab.recover(&deployment).await;
    assert!(!has(&lab, 1, 1), "said to be undone: {report:#?}");
    assert_eq!(assert_true(&lab, &deployment, &report), [1], "{report:#?}");
    assert!(report.devices.iter().all(|device| device.in_force != InForce::Unknown));
}
