//! What planning costs: a modify of a service with two endpoints, from what the store has to what the workers
//! are sent.

use std::{collections::BTreeMap, hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use turnup_core::{
    id::{OrderId, ServiceId},
    name::{DeviceName, PlatformName},
    order::{Endpoint, OrderKind},
};
use turnup_plan::{Catalogue, Definition, Draft, Footprint, ModuleText, Present, Yang};
use uuid::Uuid;

const SIM: &str = include_str!("../../device-sim/yang/turnup-sim.yang");

struct Case {
    catalogue: Catalogue,
    yang: Yang,
    platforms: BTreeMap<DeviceName, PlatformName>,
    endpoints: Vec<Endpoint>,
    /// As the store has it.
    stored: BTreeMap<DeviceName, Value>,
}

impl Case {
    fn new() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/services");
        let catalogue = Catalogue::load(&folder).ok()?;
        let text = ModuleText { name: "turnup-sim".to_owned(), revision: None, text: SIM.to_owned() };
        let endpoints: Vec<Endpoint> = serde_json::from_value(json!([
            {"role": "a", "device": "pe1", "attributes": {"port": "ge-0/0/1", "vlan": 100}},
            {"role": "z", "device": "pe2", "attributes": {"port": "ge-0/0/7", "vlan": 200}},
        ]))
        .ok()?;
        let platform = PlatformName::new("sim").ok()?;
        let platforms = endpoints.iter().map(|end| (end.device.clone(), platform.clone())).collect();
        let yang = Yang::from_texts(vec![text]).ok()?;
        let mut case = Self { catalogue, yang, platforms, endpoints, stored: BTreeMap::new() };
        let footprints = case.render(1500)?;
        case.stored =
            footprints.iter().filter_map(|(d, f)| Some((d.clone(), serde_json::to_value(f).ok()?))).collect();
        Some(case)
    }

    fn definition(&self) -> Option<&Definition> {
        Some(self.catalogue.get(&"eline".parse().ok()?)?)
    }

    fn service() -> ServiceId {
        ServiceId(Uuid::from_u128(7))
    }

    fn render(&self, mtu: u32) -> Option<BTreeMap<DeviceName, Footprint>> {
        let attributes =
            json!({"vc_id": 1001, "mtu": mtu, "control_word": true, "description": "Ams <-> Par"});
        let attributes = attributes.as_object()?;
        let yang = |_: &PlatformName| Some(self.yang.clone());
        self.definition()?
            .footprints_with(Self::service(), attributes, &self.endpoints, &self.platforms, &yang)
            .ok()
    }

    fn present(&self) -> BTreeMap<DeviceName, Present> {
        let present = |stored: &Value| Present {
            footprint: serde_json::from_value(stored.clone()).ok(),
            ..Present::default()
        };
        self.stored.iter().map(|(device, stored)| (device.clone(), present(stored))).collect()
    }

    fn modify(&self, mtu: u32, present: BTreeMap<DeviceName, Present>) -> Option<String> {
        let order = OrderId(Uuid::from_u128(9));
        let draft = Draft::new(OrderKind::Modify, order, Self::service(), present, self.render(mtu)?);
        draft.check(&|_| Some(self.yang.clone())).ok()?;
        Some(draft.finish(&[], &[]).ok()?.hash())
    }
}

fn planning(c: &mut Criterion) {
    let Some(case) = Case::new() else { return };
    c.bench_function("plan a modify of two endpoints, all of it", |b| {
        b.iter(|| black_box(case.modify(9000, case.present())));
    });
    let present = case.present();
    c.bench_function("render and check only", |b| {
        let yang = |_: &PlatformName| Some(case.yang.clone());
        b.iter(|| {
            let footprints = case.render(9000);
            footprints
                .map(|all| all.values().all(|f| f.check(&case.yang).is_ok() && yang(f.platform()).is_some()))
        });
    });
    c.bench_function("compare only", |b| {
        let Some(wanted) = case.render(9000) else { return };
        b.iter(|| {
            let order = OrderId(Uuid::from_u128(9));
            let draft =
                Draft::new(OrderKind::Modify, order, Case::service(), present.clone(), wanted.clone());
            black_box(draft.finish(&[], &[]).ok().map(|plan| plan.is_empty()))
        });
    });
}

criterion_group!(benches, planning);
criterion_main!(benches);
