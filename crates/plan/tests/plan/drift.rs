//! What an order carries to find drift, and what definitions say about it.

use std::collections::BTreeMap;

use serde_json::json;
use turnup_core::{
    drift::OnDrift,
    message::{Condition, DeviceEdit},
    name::DeviceName,
    order::OrderKind,
};
use turnup_netconf::xml::{Limits, parse_str};
use turnup_plan::{DevicePlan, Draft, DriftPolicy, Footprint, Holder, Present};

use crate::{definition, folder::Folder, order, service};

const DEFINITION: &str = "
name: any
version: 1
title: Any
attributes: {type: object, properties: {name: {type: string}}}
endpoints: {device: {}}
platforms:
  sim: {template: sim.xml.j2, keys: {port: [name]}, owns: [ports/port]}
";

const TEMPLATE: &str = "<ports xmlns='urn:t'><port><name>{{ attributes.name }}</name></port></ports>";

fn folder(drift: &str) -> Folder {
    Folder::with(&[("any/definition.yaml", &format!("{DEFINITION}{drift}\n")), ("any/sim.xml.j2", TEMPLATE)])
}

#[test]
fn definition_says_what_is_done_about_drift() {
    let policy = |drift: &str| definition(&folder(drift).load().unwrap(), "any").drift();
    assert_eq!(policy(""), DriftPolicy { found: OnDrift::Refuse, untouched_devices: false });
    let repair = policy("drift: {found: repair, untouched_devices: true}");
    assert_eq!(repair, DriftPolicy { found: OnDrift::Repair, untouched_devices: true });
    assert_eq!(policy("drift: {found: proceed}").found, OnDrift::Proceed);
    for (drift, expected) in [
        (
            "drift: {found: repare}",
            "definition.yaml:9: in 'drift' there is no value of 'found' \"repare\"; did you mean \"repair\"?",
        ),
        (
            "drift:\n  found: ignore",
            "definition.yaml:10: in 'drift' there is no value of 'found' \"ignore\"; known are refuse, repair, proceed",
        ),
        (
            "drift: {founds: repair}",
            "definition.yaml:9: in 'drift' there is no key \"founds\"; did you mean \"found\"?",
        ),
        ("drift: {untouched_devices: some}", "definition.yaml:9: untouched_devices must be true or false"),
        ("drift: {}", "definition.yaml:9: 'drift' says nothing"),
    ] {
        let mistakes = folder(drift).mistakes();
        assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{drift}: {mistakes:?}");
    }
}

fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

/// A port of the service's own, tagging held together with others.
fn footprint(mtu: u32, tagging: bool) -> Footprint {
    let tagging = if tagging { "<tagging>on</tagging>" } else { "" };
    serde_json::from_value(json!({
        "platform": "test",
        "config": format!(
            "<ports xmlns='urn:t'>{tagging}<port><name>a/1</name><mtu>{mtu}</mtu><text>kept</text></port></ports>"
        ),
        "owns": ["ports/port"], "shares": ["ports/tagging"], "keys": {"port": ["name"]},
    }))
    .unwrap()
}

fn present(footprint: Footprint) -> Present {
    Present { footprint: Some(footprint), known: true, ..Present::default() }
}

const POLICY: DriftPolicy = DriftPolicy { found: OnDrift::Repair, untouched_devices: true };

fn draft(kind: OrderKind, has: &[(&str, Present)], wanted: &[(&str, Footprint)]) -> Draft {
    let has = has.iter().map(|(name, present)| (device(name), present.clone())).collect();
    let wanted = wanted.iter().map(|(name, footprint)| (device(name), footprint.clone())).collect();
    let mut draft = Draft::new(kind, order(), service(), has, wanted);
    draft.judge_drift(POLICY, &|_| None);
    draft
}

fn plan(
    kind: OrderKind,
    has: &[(&str, Present)],
    wanted: &[(&str, Footprint)],
) -> BTreeMap<String, DevicePlan> {
    let plan = draft(kind, has, wanted).finish(&[], &[]).unwrap();
    plan.devices.into_iter().map(|(name, plan)| (name.to_string(), plan)).collect()
}

fn edit(plan: &BTreeMap<String, DevicePlan>, name: &str) -> DeviceEdit {
    plan[name].edit.as_ref().unwrap().edit.clone()
}

#[test]
fn modify_carries_the_service_as_a_whole_and_others_do_not() {
    let old = present(footprint(1500, true));
    let plan = plan(OrderKind::Modify, &[("a", old.clone())], &[("a", footprint(9000, true))]);
    let edit = edit(&plan, "a");
    assert!(edit.edit.contains("9000") && !edit.edit.contains("kept"), "the smallest change: {}", edit.edit);
    let whole = edit.whole.unwrap();
    assert_eq!(whole.before, footprint(1500, true).config());
    assert_eq!(whole.owned, ["/ports/port[name='a/1']"]);
    assert_eq!(whole.on_drift, OnDrift::Repair);
    let rewrite = whole.rewrite.unwrap();
    assert!(rewrite.contains("operation=\"replace\"") && rewrite.contains("kept"), "{rewrite}");
    assert!(rewrite.contains("<tagging>on</tagging>"), "{rewrite}");
    assert!(edit.filter.contains("<port><name>a/1</name></port>"), "all of it is read: {}", edit.filter);
    assert!(edit.filter.contains("<tagging/>"), "{}", edit.filter);

    for kind in [OrderKind::Redeploy, OrderKind::Decommission] {
        let plan = self::plan(kind, &[("a", old.clone())], &[]);
        assert_eq!(self::edit(&plan, "a").whole, None, "{kind}");
    }
    let plan = self::plan(OrderKind::Provision, &[], &[("a", footprint(1, true))]);
    assert_eq!(self::edit(&plan, "a").whole, None);
}

#[test]
fn shared_node_that_others_hold_is_neither_removed_nor_judged() {
    let mut draft = Draft::new(
        OrderKind::Modify,
        order(),
        service(),
        BTreeMap::from([(device("a"), present(footprint(1500, true)))]),
        BTreeMap::from([(device("a"), footprint(9000, false))]),
    );
    draft.judge_drift(POLICY, &|_| None);
    let other = Holder {
        device: "a".to_owned(),
        node: "/ports/tagging".to_owned(),
        service: turnup_core::id::ServiceId(uuid::Uuid::from_u128(7)),
        value: None,
    };
    for (holders, gone) in [(vec![other], false), (vec![], true)] {
        let plan = draft.clone().finish(&[], &holders).unwrap();
        let edit = plan.devices[&device("a")].edit.as_ref().unwrap().edit.clone();
        let rewrite = edit.whole.unwrap().rewrite.unwrap();
        assert_eq!(rewrite.contains("tagging"), gone, "{rewrite}");
        assert_eq!(edit.edit.contains("tagging"), gone, "{}", edit.edit);
    }
}

#[test]
fn device_where_nothing_changes_is_read_if_the_definition_says_so() {
    let (same, other) = (footprint(1500, true), footprint(9000, true));
    let has = [("a", present(same.clone())), ("b", present(same.clone()))];
    let wanted = [("a", other), ("b", same)];
    let plan = plan(OrderKind::Modify, &has, &wanted);
    assert!(plan["b"].edit.is_none() && plan["a"].reading.is_none());
    let reading = plan["b"].reading.clone().unwrap();
    assert!(reading.only_reads() && !edit(&plan, "a").only_reads());
    assert_eq!((&reading.after, &reading.before), (&Condition::All(vec![]), &Condition::All(vec![])));
    assert!(reading.filter.contains("a/1") && reading.whole.is_some());

    let mut draft = draft(OrderKind::Modify, &has, &wanted);
    draft.judge_drift(DriftPolicy { untouched_devices: false, ..POLICY }, &|_| None);
    let plan = draft.finish(&[], &[]).unwrap();
    assert!(plan.devices[&device("b")].reading.is_none());
}

#[test]
fn where_it_is_not_known_what_was_left_nothing_is_judged() {
    let old = footprint(1500, true);
    let unknown = Present { known: false, uncertain: true, ..present(old.clone()) };
    let strays = Present { strays: vec![footprint(3, false)], ..present(old.clone()) };
    // Moves away, and comes there.
    let leaves = present(old.clone());
    let has = [("unknown", unknown), ("strays", strays), ("leaves", leaves)];
    let wanted = ["unknown", "strays", "comes"].map(|name| (name, footprint(9000, true)));
    let found = plan(OrderKind::Modify, &has, &wanted);
    for name in ["unknown", "strays", "leaves", "comes"] {
        assert_eq!(edit(&found, name).whole, None, "{name}");
    }
    // After a failed attempt that left all as it was, all is written again, and judged.
    let failed = Present { uncertain: true, ..present(old) };
    let found = plan(OrderKind::Modify, &[("a", failed)], &[("a", footprint(9000, true))]);
    let edit = edit(&found, "a");
    assert!(edit.edit.contains("replace"), "{}", edit.edit);
    assert_eq!(edit.whole.unwrap().rewrite, None, "the edit itself writes all of it");
}

#[test]
fn estimate_covers_what_a_judged_order_sends() {
    let (old, new) = (footprint(1500, true), footprint(9000, true));
    let draft = draft(OrderKind::Modify, &[("a", present(old))], &[("a", new)]);
    let estimate = draft.estimated_bytes();
    let plan = draft.finish(&[], &[]).unwrap();
    let edit = &plan.devices[&device("a")].edit.as_ref().unwrap().edit;
    let sent = serde_json::to_vec(edit).unwrap().len();
    assert!(sent <= estimate, "{sent} > {estimate}");
    parse_str(
        &format!("<x>{}</x>", edit.whole.as_ref().unwrap().rewrite.as_ref().unwrap()),
        &Limits::default(),
    )
    .unwrap();
}
