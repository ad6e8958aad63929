//! Orders that are undone in any order, undo orders among them: what is left on the device is what a device has on
//! which they never were.

use turnup_core::{
    id::OrderId,
    undo::{Change, Extent, Remedy, undo},
};

use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// Provision, or modify where it exists.
    Want(usize, Wanted),
    Decommission(usize),
    /// Undoes one of the orders of a service, counted round, and the later ones with it.
    Undo(usize, usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let service = 0_usize..4;
    let act = prop_oneof![
        4 => (service.clone(), wanted()).prop_map(|(of, wanted)| Act::Want(of, wanted)),
        1 => service.clone().prop_map(Act::Decommission),
        4 => (service, 0_usize..16).prop_map(|(of, at)| Act::Undo(of, at)),
    ];
    prop::collection::vec(act, 1..16)
}

/// An order of a service that completed.
#[derive(Debug, Clone)]
struct Past {
    change: Change,
    content: Option<Wanted>,
    /// The orders before it that were not undone, each with its place among all orders.
    standing_before: Vec<(usize, Option<Wanted>)>,
}

/// The orders of one service.
#[derive(Debug, Clone, Default)]
struct Life {
    past: Vec<Past>,
    standing: Vec<(usize, Option<Wanted>)>,
}

impl Life {
    fn changes(&self) -> Vec<Change> {
        self.past.iter().map(|past| past.change).collect()
    }

    fn content_of(&self, order: OrderId) -> Option<Wanted> {
        self.past.iter().find(|past| past.change.order == order)?.content.clone()
    }

    fn push(&mut self, at: usize, kind: OrderKind, undoes: Option<OrderId>, content: Option<Wanted>) {
        let order = OrderId(Uuid::from_u128(at as u128 + 1));
        let standing_before = self.standing.clone();
        self.past.push(Past { change: Change { order, kind, undoes }, content, standing_before });
    }
}

fn deploy(world: &mut World, of: usize, kind: OrderKind, content: Option<&Wanted>) {
    let new = content.map(|wanted| footprint(&wanted.config(of)));
    let plan = world.plan(of, kind, new.clone());
    world.send(&plan);
    world.settle(of, new);
}

/// Carries out the orders. Gives the device, and how many undo orders there were.
fn run(acts: &[Act], lives: &mut BTreeMap<usize, Life>) -> (World, usize) {
    let mut world = World::new(true);
    let mut undone = 0;
    for (at, act) in acts.iter().enumerate() {
        match act {
            Act::Want(of, wanted) => {
                let exists = world.services.contains_key(of);
                let kind = if exists { OrderKind::Modify } else { OrderKind::Provision };
                deploy(&mut world, *of, kind, Some(wanted));
                let life = lives.entry(*of).or_default();
                life.push(at, kind, None, Some(wanted.clone()));
                life.standing.push((at, Some(wanted.clone())));
            }
            Act::Decommission(of) if world.services.contains_key(of) => {
                deploy(&mut world, *of, OrderKind::Decommission, None);
                let life = lives.entry(*of).or_default();
                life.push(at, OrderKind::Decommission, None, None);
                life.standing.push((at, None));
            }
            Act::Undo(of, index) if lives.contains_key(of) => {
                let life = lives.get_mut(of).unwrap();
                let past = life.past[index % life.past.len()].clone();
                let changes = life.changes();
                let is_last = changes.last() == Some(&past.change);
                let extent = if is_last { Extent::Order } else { Extent::ToBefore };
                let Ok(found) = undo(past.change.order, past.change.kind, &changes, extent) else {
                    assert!(!world.services.contains_key(of), "what exists can be taken back");
                    continue;
                };
                let content = found.remedy.as_of().and_then(|order| life.content_of(order));
                let exists = world.services.contains_key(of);
                assert_eq!(matches!(found.remedy, Remedy::Provision { .. }), !exists);
                deploy(&mut world, *of, found.remedy.kind(), content.as_ref());
                life.push(at, found.remedy.kind(), Some(past.change.order), content);
                life.standing = past.standing_before;
                undone += 1;
            }
            Act::Decommission(_) | Act::Undo(..) => {}
        }
    }
    (world, undone)
}

/// The same network, on which only the orders were deployed that were not undone.
fn replayed(lives: &BTreeMap<usize, Life>) -> World {
    let mut orders: Vec<(usize, usize, Option<Wanted>)> = lives
        .iter()
        .flat_map(|(of, life)| life.standing.iter().map(|(at, content)| (*at, *of, content.clone())))
        .collect();
    orders.sort_by_key(|(at, ..)| *at);
    let mut world = World::new(true);
    for (_, of, content) in orders {
        let kind = match (world.services.contains_key(&of), &content) {
            (_, None) => OrderKind::Decommission,
            (true, Some(_)) => OrderKind::Modify,
            (false, Some(_)) => OrderKind::Provision,
        };
        deploy(&mut world, of, kind, content.as_ref());
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES / 4))]

    #[test]
    fn device_after_undo_equals_a_device_without_the_undone_orders(acts in acts()) {
        let mut lives = BTreeMap::new();
        let (world, undone) = run(&acts, &mut lives);
        let without = replayed(&lives);
        prop_assert!(world.matches());
        prop_assert_eq!(
            world.device.essence().to_xml(), without.device.essence().to_xml(), "{} undone: {:?}", undone, acts
        );
        let footprints = |world: &World| -> BTreeMap<usize, Option<Footprint>> {
            world.services.iter().map(|(of, known)| (*of, known.footprint.clone())).collect()
        };
        prop_assert_eq!(footprints(&world), footprints(&without));
    }
}

#[test]
fn neighbour_keeps_what_it_shares_with_an_undone_service() {
    let unit = |number| Unit {
        port: 0,
        number,
        mtu: Some(600),
        description: None,
        tags: BTreeSet::new(),
        profile: Some(1),
        tagging: true,
    };
    let want = |of, units: &[u8]| {
        let units = units.iter().map(|number| unit(*number)).collect();
        Act::Want(of, Wanted { units, vrfs: vec![] })
    };
    let orders = [want(0, &[0]), want(1, &[1]), want(0, &[0, 2])];
    let undone = |more: &[Act]| {
        let mut lives = BTreeMap::new();
        let (world, _) = run(&[&orders[..], more].concat(), &mut lives);
        assert_eq!(world.device.essence(), replayed(&lives).device.essence());
        world.device.essence().to_xml()
    };
    let all = undone(&[]);
    // The modify order of the first service.
    assert_ne!(undone(&[Act::Undo(0, 1)]), all);
    // The first service as a whole: the profile and the port stay for the second one.
    let without_first = undone(&[Act::Undo(0, 0)]);
    assert!(without_first.contains("1-1") && without_first.contains("b1"), "{without_first}");
    assert!(!without_first.contains("0-0") && !without_first.contains("0-2"), "{without_first}");
    // That undo undone, too.
    assert_eq!(undone(&[Act::Undo(0, 0), Act::Undo(0, 2)]), all);
}
