//! Whole lives of random services on one device: provisioned, changed, deployed again and taken away in any
//! order, with drift in between. After every step the device has what all services want together and
//! nothing else, as a device has that was configured from scratch.

mod undone;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use turnup_core::{id::ServiceId, name::DeviceName, order::OrderKind};
use turnup_plan::{DevicePlan, Draft, Footprint, Holder, Plan, Present};
use uuid::Uuid;

use crate::{
    device::{Device, Keys},
    order,
};

const NS: &str = "urn:test";
const CASES: u32 = 400;

fn keys() -> Keys {
    let keys =
        [("port", "name"), ("unit", "id"), ("profile", "name"), ("vrf", "name"), ("rt", "v"), ("tag", ".")];
    keys.map(|(list, key)| (list.to_owned(), vec![key.to_owned()])).into()
}

fn footprint(config: &str) -> Footprint {
    serde_json::from_value(json!({
        "platform": "test",
        "config": config,
        "keys": keys(),
        "owns": ["ports/port/unit", "vrfs/vrf"],
        "shares": ["ports/port/tagging", "profiles/profile"],
    }))
    .unwrap()
}

#[derive(Debug, Clone)]
struct Unit {
    port: u8,
    number: u8,
    mtu: Option<u16>,
    description: Option<String>,
    tags: BTreeSet<u8>,
    /// The profile it uses, and so shares with others.
    profile: Option<u8>,
    tagging: bool,
}

#[derive(Debug, Clone)]
struct Vrf {
    number: u8,
    rd: u16,
    targets: BTreeSet<u8>,
}

#[derive(Debug, Clone)]
struct Wanted {
    units: Vec<Unit>,
    vrfs: Vec<Vrf>,
}

impl Wanted {
    /// The configuration of service number `of`, whose own numbers no other service uses.
    fn config(&self, of: usize) -> String {
        let mut ports = String::new();
        let mut profiles = String::new();
        let mut seen = BTreeSet::new();
        for unit in self.units.iter().filter(|unit| seen.insert((unit.port, unit.number))) {
            let leaf = |name: &str, value: Option<String>| {
                value.map(|value| format!("<{name}>{value}</{name}>")).unwrap_or_default()
            };
            let tags: String = unit.tags.iter().map(|tag| format!("<tag>t{tag}</tag>")).collect();
            let tagging = if unit.tagging { "<tagging>true</tagging>" } else { "" };
            ports += &format!(
                "<port><name>p{}</name>{tagging}<unit><id>{of}-{}</id>{}{}{tags}<opt>{}</opt></unit></port>",
                unit.port,
                unit.number,
                leaf("mtu", unit.mtu.map(|mtu| mtu.to_string())),
                leaf("description", unit.description.clone()),
                leaf("profile", unit.profile.map(|profile| format!("b{profile}"))),
            );
            if let Some(profile) = unit.profile {
                profiles += &format!(
                    "<profile><name>b{profile}</name><rate>{}</rate></profile>",
                    u32::from(profile) * 1000
                );
            }
        }
        let mut seen = BTreeSet::new();
        let vrfs: String = self
            .vrfs
            .iter()
            .filter(|vrf| seen.insert(vrf.number))
            .map(|vrf| {
                let targets: String =
                    vrf.targets.iter().map(|t| format!("<rt><v>{t}</v><both>true</both></rt>")).collect();
                format!("<vrf><name>v{of}-{}</name><rd>{}</rd>{targets}</vrf>", vrf.number, vrf.rd)
            })
            .collect();
        let top = |name: &str, content: String| match content.is_empty() {
            true => String::new(),
            false => format!("<{name} xmlns='{NS}'>{content}</{name}>"),
        };
        top("ports", ports) + &top("profiles", profiles) + &top("vrfs", vrfs)
    }
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let unit = (
        0_u8..3,
        0_u8..4,
        prop::option::of(600_u16..603),
        prop::option::of("[a-z<&']{1,6}".prop_map(|text| text.replace('<', "&lt;").replace('&', "&amp;"))),
        prop::collection::btree_set(0_u8..4, 0..3),
        prop::option::of(0_u8..3),
        any::<bool>(),
    )
        .prop_map(|(port, number, mtu, description, tags, profile, tagging)| Unit {
            port,
            number,
            mtu,
            description,
            tags,
            profile,
            tagging,
        });
    let vrf = (0_u8..3, 0_u16..3, prop::collection::btree_set(0_u8..4, 0..4))
        .prop_map(|(number, rd, targets)| Vrf { number, rd, targets });
    (prop::collection::vec(unit, 1..5), prop::collection::vec(vrf, 0..3))
        .prop_map(|(units, vrfs)| Wanted { units, vrfs })
}

#[derive(Debug, Clone)]
enum Step {
    /// Provision, or modify where it exists.
    Want(usize, Wanted),
    /// As `Want`, but the attempt fails and nobody knows whether it is in force.
    Stray(usize, Wanted, bool),
    Redeploy(usize),
    /// Somebody changes what the service owns, which is then deployed again.
    Drift(usize, u8),
    Decommission(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let service = 0_usize..5;
    let step = prop_oneof![
        5 => (service.clone(), wanted()).prop_map(|(of, wanted)| Step::Want(of, wanted)),
        1 => (service.clone(), wanted(), any::<bool>()).prop_map(|(of, w, done)| Step::Stray(of, w, done)),
        1 => service.clone().prop_map(Step::Redeploy),
        1 => (service.clone(), any::<u8>()).prop_map(|(of, kind)| Step::Drift(of, kind)),
        2 => service.prop_map(Step::Decommission),
    ];
    prop::collection::vec(step, 1..14)
}

fn id(of: usize) -> ServiceId {
    ServiceId(Uuid::from_u128(of as u128 + 1))
}

/// What the store knows of one service.
#[derive(Default, Clone)]
struct Known {
    footprint: Option<Footprint>,
    strays: Vec<Footprint>,
}

struct World {
    device: Device,
    /// What was there before turnup came, and is to be there when it has gone.
    before: Device,
    services: BTreeMap<usize, Known>,
    /// Whether holders of shared nodes are counted; they are, except to see that a test finds it.
    counts: bool,
}

impl World {
    fn new(counts: bool) -> Self {
        let before = Device::new(
            &format!(
                "<ports xmlns='{NS}'><port><name>p0</name><speed>1</speed></port><port><name>p1</name></port></ports>\
                 <vrfs xmlns='{NS}'><vrf><name>others</name></vrf></vrfs>"
            ),
            &keys(),
        );
        Self { device: before.clone(), before, services: BTreeMap::new(), counts }
    }

    fn name() -> DeviceName {
        DeviceName::new("d").unwrap()
    }

    fn plan(&self, of: usize, kind: OrderKind, new: Option<Footprint>) -> Plan {
        let known = self.services.get(&of).cloned().unwrap_or_default();
        let exists = known.footprint.is_some() || !known.strays.is_empty();
        let present = Present { footprint: known.footprint, strays: known.strays, ..Present::default() };
        let present = exists.then(|| (Self::name(), present)).into_iter().collect();
        let draft =
            Draft::new(kind, order(), id(of), present, new.into_iter().map(|f| (Self::name(), f)).collect());
        let shared: BTreeSet<String> = draft.shared().into_iter().map(|(_, node)| node).collect();
        let all = self.services.iter().flat_map(|(service, known)| {
            let footprints = known.footprint.iter().chain(&known.strays);
            let nodes = footprints.flat_map(Footprint::shared_nodes);
            nodes.map(|(node, value)| Holder {
                device: "d".into(),
                node,
                service: id(*service),
                value: Some(value),
            })
        });
        let holders: Vec<Holder> =
            all.filter(|holder| self.counts && shared.contains(&holder.node)).collect();
        draft.finish(&[], &holders).unwrap()
    }

    /// Sends an edit as a device gets it: perhaps twice, perhaps undone and sent again.
    fn send(&mut self, plan: &Plan) {
        let Some(DevicePlan { edit: Some(edit), .. }) = plan.devices.get(&Self::name()) else { return };
        let edit = &edit.edit;
        let start = self.device.clone();
        self.device.edit(&edit.edit);
        assert!(self.device.holds(&edit.after), "{edit:?}\n{}", self.device.root.to_xml());
        let once = self.device.essence();
        self.device.edit(&edit.edit);
        assert_eq!(self.device.essence(), once, "twice is the same as once");
        if start.holds(&edit.before) {
            let mut undone = self.device.clone();
            undone.edit(&edit.inverse);
            assert!(undone.holds(&edit.before), "{edit:?}");
            if plan.kind != OrderKind::Redeploy {
                assert_eq!(undone.essence(), start.essence(), "the inverse undoes it: {edit:?}");
            }
        }
    }

    fn settle(&mut self, of: usize, new: Option<Footprint>) {
        match new {
            Some(footprint) => {
                self.services.insert(of, Known { footprint: Some(footprint), strays: Vec::new() });
            }
            None => {
                self.services.remove(&of);
            }
        }
    }

    /// As a device would be that only ever had what is wanted now.
    fn rebuilt(&self) -> Device {
        let mut device = self.before.clone();
        for known in self.services.values() {
            if let Some(footprint) = &known.footprint {
                device.edit(footprint.config());
            }
        }
        device
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Want(of, wanted) => {
                let exists = self.services.contains_key(&of);
                let kind = if exists { OrderKind::Modify } else { OrderKind::Provision };
                let new = footprint(&wanted.config(of));
                let plan = self.plan(of, kind, Some(new.clone()));
                self.send(&plan);
                self.settle(of, Some(new.clone()));
                let again = self.plan(of, OrderKind::Modify, Some(new));
                assert!(again.is_empty(), "from a to a there is nothing to do");
            }
            Step::Stray(of, wanted, done) => {
                let Some(known) = self.services.get(&of).filter(|known| known.strays.is_empty()) else {
                    return;
                };
                let old = known.footprint.clone().unwrap();
                let new = footprint(&wanted.config(of));
                let plan = self.plan(of, OrderKind::Modify, Some(new.clone()));
                let before = self.device.clone();
                if done {
                    self.send(&plan);
                }
                self.services.insert(of, Known { footprint: Some(old.clone()), strays: vec![new.clone()] });
                // Whatever comes next can tell whether something was left, and take it back.
                for next in [
                    self.plan(of, OrderKind::Redeploy, None),
                    self.plan(of, OrderKind::Modify, Some(new)),
                    self.plan(
                        of,
                        OrderKind::Modify,
                        Some(footprint(&Wanted { vrfs: Vec::new(), ..wanted.clone() }.config(of))),
                    ),
                ] {
                    let Some(edit) = next.devices[&Self::name()].edit.as_ref().map(|edit| &edit.edit) else {
                        continue;
                    };
                    let is_as_before = self.device.essence() == before.essence();
                    assert_eq!(self.device.holds(&edit.before), is_as_before, "{edit:?}");
                    let mut back = self.device.clone();
                    back.edit(&edit.inverse);
                    assert!(back.holds(&edit.before), "{edit:?}");
                    assert_eq!(back.essence(), before.essence(), "{edit:?}");
                }
                let redeploy = self.plan(of, OrderKind::Redeploy, None);
                self.send(&redeploy);
                self.settle(of, Some(old));
            }
            Step::Redeploy(of) => {
                let Some(known) = self.services.get(&of).cloned() else { return };
                let plan = self.plan(of, OrderKind::Redeploy, None);
                assert!(!plan.is_empty());
                self.send(&plan);
                self.settle(of, known.footprint);
            }
            Step::Drift(of, kind) => {
                let Some(known) = self.services.get(&of).cloned() else { return };
                let old = known.footprint.clone().unwrap();
                for node in old.owned_nodes().iter().filter(|node| node.starts_with("/ports")) {
                    let values: Vec<&str> = node.split('\'').collect();
                    let (port, unit) = (values[1], values[3]);
                    let inside = match kind % 3 {
                        0 => "<mtu>9</mtu>",
                        1 => "<tag>byhand</tag><description>by hand</description>",
                        _ => "<opt><profile>none</profile></opt>",
                    };
                    self.device.edit(&format!(
                        "<ports xmlns='{NS}'><port><name>{port}</name><unit><id>{unit}</id>{inside}</unit></port></ports>"
                    ));
                }
                let plan = self.plan(of, OrderKind::Redeploy, None);
                self.send(&plan);
                self.settle(of, known.footprint);
            }
            Step::Decommission(of) => {
                if !self.services.contains_key(&of) {
                    return;
                }
                let plan = self.plan(of, OrderKind::Decommission, None);
                self.send(&plan);
                self.settle(of, None);
            }
        }
    }

    fn matches(&self) -> bool {
        self.device.essence() == self.rebuilt().essence()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_device_always_has_what_its_services_want_together(steps in steps(), end in any::<u64>()) {
        let mut world = World::new(true);
        for step in steps {
            world.step(step.clone());
            prop_assert!(
                world.matches(),
                "after {step:?}\nhas    {}\nwanted {}",
                world.device.essence().to_xml(),
                world.rebuilt().essence().to_xml()
            );
        }
        // All of them go, in any order.
        let mut left: Vec<usize> = world.services.keys().copied().collect();
        let mut end = end;
        while !left.is_empty() {
            let of = left.swap_remove((end % left.len() as u64) as usize);
            end /= 7;
            world.step(Step::Decommission(of));
            prop_assert!(world.matches());
        }
        prop_assert_eq!(world.device.essence(), world.before.essence(), "the device is as it was");
    }
}

/// Whoever forgets to count takes from others what they hold: the property must see it.
#[test]
fn without_counting_a_shared_node_is_lost() {
    let unit = |number| Unit {
        port: 0,
        number,
        mtu: None,
        description: None,
        tags: BTreeSet::new(),
        profile: Some(1),
        tagging: true,
    };
    let outcome = |counts| {
        let mut world = World::new(counts);
        world.step(Step::Want(0, Wanted { units: vec![unit(0)], vrfs: vec![] }));
        world.step(Step::Want(1, Wanted { units: vec![unit(1)], vrfs: vec![] }));
        world.step(Step::Decommission(0));
        world.matches()
    };
    assert!(outcome(true));
    assert!(!outcome(false), "what service 1 holds was taken away with service 0");
}

#[test]
fn two_services_must_agree_on_what_they_share() {
    let config = |rate: u32| {
        footprint(&format!(
            "<profiles xmlns='{NS}'><profile><name>gold</name><rate>{rate}</rate></profile></profiles>"
        ))
    };
    let device = World::name();
    let finish = |wanted: &Footprint, held: &Footprint| {
        let draft = Draft::new(
            OrderKind::Provision,
            order(),
            id(0),
            BTreeMap::new(),
            [(device.clone(), wanted.clone())].into(),
        );
        let (node, value) = held.shared_nodes().swap_remove(0);
        draft.finish(&[], &[Holder { device: "d".into(), node, service: id(1), value: Some(value) }])
    };
    assert!(finish(&config(7), &config(7)).is_ok());
    let refused = finish(&config(7), &config(8)).unwrap_err();
    assert_eq!(refused[0].path.as_deref(), Some("/profiles/profile[name='gold']"));
    assert!(refused[0].message.contains("shared with service"), "{}", refused[0].message);
}

#[test]
fn a_plan_reads_like_what_it_does() {
    let old = footprint(&format!(
        "<ports xmlns='{NS}'><port><name>p0</name><unit><id>1</id><mtu>600</mtu><tag>a</tag></unit>\
         <unit><id>2</id></unit></port></ports>"
    ));
    let new = footprint(&format!(
        "<ports xmlns='{NS}'><port><name>p0</name><unit><id>1</id><mtu>601</mtu><tag>b</tag></unit></port></ports>\
         <vrfs xmlns='{NS}'><vrf><name>v</name><rd>1</rd></vrf></vrfs>"
    ));
    let device = World::name();
    let present = Present { footprint: Some(old), ..Present::default() };
    let plan = |kind, new: Option<Footprint>| {
        let wanted = new.into_iter().map(|new| (device.clone(), new)).collect();
        let present = [(device.clone(), present.clone())].into();
        Draft::new(kind, order(), id(0), present, wanted).finish(&[], &[]).unwrap()
    };
    let modify = plan(OrderKind::Modify, Some(new.clone()));
    assert_eq!(
        modify.text(),
        "d (test)\n    ports\n      port[name='p0']\n        unit[id='1']\n  ~       mtu: 600 -> 601\n\
         \x20 +       tag: b\n  -       tag: a\n  -     unit[id='2']\n    vrfs\n  +   vrf[name='v']\n  +     rd: 1\n"
    );
    assert!(plan(OrderKind::Decommission, None).text().contains("-     unit[id='1']\n  -       mtu: 600\n"));
    assert!(plan(OrderKind::Redeploy, None).text().contains("=     unit[id='2']\n"));
    assert_eq!(modify.hash(), plan(OrderKind::Modify, Some(new)).hash());
    assert_ne!(modify.hash(), plan(OrderKind::Redeploy, None).hash());
}
