//! Nodes that services hold together, and nodes that one owns: the one is never the other's.

use std::collections::BTreeMap;

use serde_json::json;
use turnup_core::{failure::Failure, id::ServiceId, name::DeviceName, order::OrderKind};
use turnup_plan::{Draft, Footprint, Holder, Plan, Present, Questions};
use uuid::Uuid;

use crate::order;

fn footprint(config: &str, owns: &[&str], shares: &[&str]) -> Footprint {
    serde_json::from_value(json!({
        "platform": "test", "config": config, "owns": owns, "shares": shares,
        "keys": {"port": ["name"], "unit": ["id"], "profile": ["name"]},
    }))
    .unwrap()
}

fn id(of: u128) -> ServiceId {
    ServiceId(Uuid::from_u128(of))
}

fn device() -> DeviceName {
    DeviceName::new("d").unwrap()
}

fn with(kind: OrderKind, present: Option<Footprint>, wanted: Footprint) -> Draft {
    let present =
        present.map(|footprint| (device(), Present { footprint: Some(footprint), ..Present::default() }));
    Draft::new(kind, order(), id(1), present.into_iter().collect(), BTreeMap::from([(device(), wanted)]))
}

/// What the store would find for the draft where service 2 has `theirs`.
fn finish(draft: Draft, theirs: &Footprint) -> Result<Plan, Vec<Failure>> {
    let questions = Questions::of([&draft]);
    let inside = |node: &str| {
        questions
            .claimed
            .iter()
            .any(|(_, claimed)| node.strip_prefix(claimed.as_str()).is_some_and(|r| r.starts_with('/')))
    };
    let asked =
        |list: &[(String, String)], node: &str| list.iter().any(|(_, asked)| asked == node) || inside(node);
    let owners: Vec<_> = theirs
        .owned_nodes()
        .into_iter()
        .filter(|node| asked(&questions.claimed, node) || asked(&questions.around, node))
        .map(|node| ("d".to_owned(), node, id(2)))
        .collect();
    let holders: Vec<_> = theirs
        .shared_nodes()
        .into_iter()
        .filter(|(node, _)| asked(&questions.shared, node))
        .map(|(node, value)| Holder { device: "d".to_owned(), node, service: id(2), value: Some(value) })
        .collect();
    draft.finish(&owners, &holders)
}

const PORT: &str = "<ports xmlns='urn:t'><port><name>p</name><tagging>true</tagging></port></ports>";

#[test]
fn what_is_shared_is_not_owned_by_another_nor_in_or_around_what_is_owned() {
    let tagging = footprint(PORT, &[], &["ports/port/tagging"]);
    for (owned, refused) in [
        // The whole port, with what another service holds in it.
        (footprint(PORT, &["ports/port"], &[]), true),
        (footprint(PORT, &["ports"], &[]), true),
        // The very node.
        (footprint(PORT, &["ports/port/tagging"], &[]), true),
        // Its neighbour.
        (footprint(&PORT.replace("tagging", "mtu"), &["ports/port/mtu"], &[]), false),
        (footprint(&PORT.replace("<name>p", "<name>q"), &["ports/port"], &[]), false),
    ] {
        let claims = finish(with(OrderKind::Provision, None, owned.clone()), &tagging);
        assert_eq!(claims.is_err(), refused, "{:?} is claimed", owned.owned_nodes());
        let shares = finish(with(OrderKind::Provision, None, tagging.clone()), &owned);
        assert_eq!(shares.is_err(), refused, "{:?} is there", owned.owned_nodes());
    }
}

#[test]
fn one_shared_node_does_not_lie_in_another() {
    let outer = footprint(PORT, &[], &["ports/port"]);
    let inner = footprint(PORT, &[], &["ports/port/tagging"]);
    for (ours, theirs) in [(&outer, &inner), (&inner, &outer)] {
        let refused = finish(with(OrderKind::Provision, None, ours.clone()), theirs).unwrap_err();
        assert!(refused[0].message.contains("held by service"), "{refused:?}");
    }
    assert!(finish(with(OrderKind::Provision, None, inner.clone()), &inner).is_ok());
}

/// Another version of a definition that owns what was shared takes nothing from those that still share it.
#[test]
fn a_version_that_owns_what_was_shared_waits_for_the_last_other_holder() {
    let before = footprint(PORT, &[], &["ports/port/tagging"]);
    let after = footprint(PORT, &["ports/port/tagging"], &[]);
    let modify = || with(OrderKind::Modify, Some(before.clone()), after.clone());
    assert!(finish(modify(), &before).is_err());
    assert!(modify().finish(&[], &[]).is_ok());
}

#[test]
fn an_address_is_owned_once_however_it_is_written() {
    let port = |name: &str| {
        let config = format!("<ports xmlns='urn:t'><port><name>{name}</name></port></ports>");
        footprint(&config, &["ports/port"], &[])
    };
    let refused = |ours: &str, theirs: &str| {
        finish(with(OrderKind::Provision, None, port(ours)), &port(theirs)).is_err()
    };
    for other in ["2001:DB8::AA", "2001:db8:0::aa", "2001:0db8:0:0:0:0:0:00aa"] {
        assert!(refused("2001:db8::aa", other) && refused(other, "2001:db8::aa"), "{other}");
    }
    // Names may look like numbers, and no type is known here.
    assert!(!refused("01", "1") && !refused("00:AA", "00:aa") && refused("nc:1", "nc:1"));
}
