//! Which orders may be planned side by side, and that undoing one takes nothing from another.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use turnup_core::{
    id::{OrderId, ServiceId},
    message::DeviceEdit,
    name::DeviceName,
    order::OrderKind,
};
use turnup_plan::{Draft, Footprint, Holder, Present, Together};
use uuid::Uuid;

use crate::{check, definition, shipped};

/// A line's footprints, with unit and bandwidth.
fn line(n: u128, vlan: u32, bandwidth: Option<u32>) -> BTreeMap<DeviceName, Footprint> {
    let eline = definition(shipped(), "eline");
    let mut attributes = json!({"vc_id": 1000 + n as u64});
    if let Some(bandwidth) = bandwidth {
        attributes["bandwidth"] = json!(bandwidth);
    }
    let end = |role: &str, device: &str| json!({"role": role, "device": device, "attributes": {"port": "ge-0/0/1", "vlan": vlan}});
    let given = Value::Array(vec![end("a", "pe1"), end("z", "pe2")]);
    let checked = check(eline, attributes, given, "sim").unwrap();
    eline.footprints(service(n), &checked.attributes, &checked.endpoints, &checked.platforms).unwrap()
}

fn service(n: u128) -> ServiceId {
    ServiceId(Uuid::from_u128(n))
}

fn provision(n: u128, vlan: u32, bandwidth: Option<u32>) -> Draft {
    let order = OrderId(Uuid::from_u128(500 + n));
    Draft::new(OrderKind::Provision, order, service(n), BTreeMap::new(), line(n, vlan, bandwidth))
}

fn decommission(n: u128, vlan: u32, bandwidth: Option<u32>) -> Draft {
    let present = line(n, vlan, bandwidth)
        .into_iter()
        .map(|(device, footprint)| (device, Present { footprint: Some(footprint), ..Present::default() }));
    let order = OrderId(Uuid::from_u128(500 + n));
    Draft::new(OrderKind::Decommission, order, service(n), present.collect(), BTreeMap::new())
}

fn may_join(first: &Draft, second: &Draft) -> bool {
    let both = |a: &Draft, b: &Draft| {
        let mut together = Together::default();
        together.add(a);
        together.may_join(b)
    };
    assert_eq!(both(first, second), both(second, first), "it doesn't matter who comes first");
    both(first, second)
}

#[test]
fn who_touches_what_another_touches_goes_alone() {
    let one = provision(1, 7, None);
    assert!(may_join(&one, &provision(2, 8, None)));
    assert!(!may_join(&one, &provision(2, 7, None)), "both want unit 7");
    assert!(!may_join(&one, &decommission(2, 7, None)), "one waits for what the other gives up");
    assert!(may_join(&one, &decommission(2, 8, None)));
    assert!(!may_join(&one, &provision(1, 8, None)), "the same service");
}

#[test]
fn what_is_held_jointly_is_shared_by_those_who_keep_it() {
    let one = provision(1, 7, Some(5_000));
    assert!(may_join(&one, &provision(2, 8, Some(5_000))));
    assert!(may_join(&one, &decommission(2, 8, Some(6_000))), "another profile");
    assert!(
        !may_join(&one, &decommission(2, 8, Some(5_000))),
        "whether the profile goes depends on the other"
    );
    let leaving = decommission(1, 7, Some(5_000));
    assert!(!may_join(&leaving, &decommission(2, 8, Some(5_000))), "the last one would have to remove it");
}

#[test]
fn undoing_one_leaves_what_another_wants_with_it_and_says_how_to_remove_it() {
    let (one, two, three) =
        (provision(1, 7, Some(5_000)), provision(2, 8, Some(5_000)), provision(3, 9, Some(6_000)));
    let mut together = Together::default();
    for draft in [&one, &two, &three] {
        assert!(together.may_join(draft));
        together.add(draft);
    }
    let edits = |draft: Draft, holders: &[Holder]| -> Vec<DeviceEdit> {
        let plan = draft.finish_beside(&[], holders, together.joint()).unwrap();
        plan.devices.into_values().map(|device| device.edit.unwrap().edit).collect()
    };
    for draft in [one.clone(), two] {
        for edit in edits(draft, &[]) {
            assert!(!edit.inverse.contains("kbps-5000") && edit.inverse.contains("unit"), "{edit:?}");
            let [joint] = &edit.joint[..] else { panic!("{edit:?}") };
            assert_eq!(joint.node, "/qos-profiles/qos-profile[name='kbps-5000']");
            assert!(joint.removal.contains("remove") && joint.removal.contains("kbps-5000"), "{joint:?}");
            assert!(!joint.removal.contains("unit") && !joint.removal.contains("pseudowire"), "{joint:?}");
        }
    }
    for edit in edits(three, &[]) {
        assert!(
            edit.inverse.contains("kbps-6000") && edit.joint.is_empty(),
            "nobody else wants that: {edit:?}"
        );
    }
    // Held by one that is not of them: it stays whatever becomes of them.
    let holder = |device: &str| Holder {
        device: device.to_owned(),
        node: "/qos-profiles/qos-profile[name='kbps-5000']".to_owned(),
        service: service(77),
        value: None,
    };
    for edit in edits(one, &[holder("pe1"), holder("pe2")]) {
        assert!(!edit.inverse.contains("kbps-5000") && edit.joint.is_empty(), "{edit:?}");
    }
}
