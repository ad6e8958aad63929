//! Random groups: any kinds of devices, any guilty orders, a worker that dies anywhere. Whatever happens, the
//! guilty and no others fail, and every device has what the reports say.

use futures_util::{StreamExt as _, stream};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use turnup_core::{lifecycle::OrderEvent, settle::order_event};
use turnup_device_sim::Profile;

use super::{
    crash::run_apart,
    groups::{assert_true, group_where},
    lab::Lab,
    methods::{KINDS, playing},
};
use crate::crash;

const CASES: usize = 20;

#[derive(Debug, Clone)]
struct Case {
    kinds: Vec<Profile>,
    /// Each order's devices, counted from 1, and at which of them it is refused.
    orders: Vec<(Vec<usize>, Option<usize>)>,
    /// Where the first worker dies, if it gets there.
    dies: Option<String>,
}

fn case() -> impl Strategy<Value = Case> {
    let kinds = prop::collection::vec(prop::sample::select(KINDS.map(|(kind, _)| kind).to_vec()), 2..4);
    kinds.prop_flat_map(|kinds| {
        let devices: Vec<usize> = (1..=kinds.len()).collect();
        let most = devices.len();
        let order = prop::sample::subsequence(devices, 1..=most).prop_flat_map(|on| {
            let guilty = prop::option::weighted(0.15, prop::sample::select(on.clone()));
            (Just(on), guilty)
        });
        let points = [
            crash::AFTER_PREPARE,
            crash::AFTER_PROVISIONAL,
            crash::AFTER_FOR_GOOD,
            crash::AFTER_CONFIRM_FIRST,
            crash::AFTER_CONFIRM,
            crash::AFTER_UNDO,
            crash::AFTER_PART,
        ];
        let dies = (prop::sample::select(points.to_vec()), 1_usize..5);
        let dies = dies.prop_map(|(point, time)| format!("{point}:{time}"));
        (Just(kinds), prop::collection::vec(order, 2..14), prop::option::weighted(0.8, dies))
            .prop_map(|(kinds, orders, dies)| Case { kinds, orders, dies })
    })
}

async fn check(case: Case) {
    let lab = Lab::start(u16::try_from(case.kinds.len()).unwrap()).await;
    for (at, kind) in case.kinds.iter().enumerate() {
        lab.behave(at + 1, playing(*kind)).await;
    }
    let on = |order: usize| case.orders[order].0.clone();
    let is_bad = |order: usize, device: usize| case.orders[order].1 == Some(device);
    let mut deployment = group_where(&lab, case.orders.len(), on, is_bad);
    deployment.limits.confirm_timeout_s = 2;
    let report = match &case.dies {
        None => lab.deploy(&deployment).await,
        Some(point) => {
            run_apart(&lab, point, &deployment).await;
            lab.recover(&deployment).await
        }
    };
    let guilty: Vec<usize> = (0..case.orders.len()).filter(|order| case.orders[*order].1.is_some()).collect();
    assert_eq!(assert_true(&lab, &deployment, &report), guilty, "{case:?} {report:#?}");
    for order in guilty {
        let failures = &report.orders[order].failures;
        assert_eq!(order_event(failures), OrderEvent::Invalid, "{case:?} {failures:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_group_the_kinds_and_the_crash() {
    let mut runner = TestRunner::default();
    let cases: Vec<Case> = (0..CASES).map(|_| case().new_tree(&mut runner).unwrap().current()).collect();
    // Most of it is waiting for timers of devices.
    stream::iter(cases).for_each_concurrent(8, check).await;
}
