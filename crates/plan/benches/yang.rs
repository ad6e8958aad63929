//! What checking a footprint against YANG costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use turnup_plan::{ModuleText, Yang};

const SIM: &str = include_str!("../../device-sim/yang/turnup-sim.yang");

/// What `eline` has on one device.
const FOOTPRINT: &str = r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0/0/1</name><unit><id>100</id><vlan-id>100</vlan-id><description>Ams &lt;-&gt; Par</description><mtu>1500</mtu></unit></interface></interfaces><pseudowires xmlns="urn:turnup:sim"><pseudowire><name>0198c0de-0000-7000-8000-000000000001</name><vc-id>1001</vc-id><peer>pe1-par</peer><interface>ge-0/0/1</interface><unit>100</unit></pseudowire></pseudowires>"#;

fn whole(path: &str) -> bool {
    matches!(path, "interfaces/interface/unit" | "pseudowires/pseudowire")
}

fn check(c: &mut Criterion) {
    let text = ModuleText { name: "turnup-sim".to_owned(), revision: None, text: SIM.to_owned() };
    let Ok(yang) = Yang::from_texts(vec![text.clone()]) else { return };
    let bad = FOOTPRINT.replace("<vlan-id>100", "<vlan-id>5000").replace("<vc-id>1001</vc-id>", "");
    c.bench_function("check a footprint", |b| {
        b.iter(|| black_box(yang.check(black_box(FOOTPRINT), &whole)));
    });
    c.bench_function("check a bad footprint", |b| b.iter(|| black_box(yang.check(black_box(&bad), &whole))));
    c.bench_function("compile turnup-sim", |b| b.iter(|| black_box(Yang::from_texts(vec![text.clone()]))));
}

criterion_group!(benches, check);
criterion_main!(benches);
