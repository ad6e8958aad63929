//! Who may import whom, held over `cargo metadata`; and documents that must say what the code says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on fails where it stands"
)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// The rules of ARCHITECTURE.md: crate → crates of ours that it may import.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("turnup-clean", &[]),
    ("turnup-core", &["turnup-clean"]),
    ("turnup-netconf", &["turnup-clean"]),
    ("turnup-crashpoint", &[]),
    ("turnup-files", &[]),
    ("turnup-import", &["turnup-core", "turnup-files"]),
    // The XML tree and the edit vocabulary of RFC 6241, rather than a second XML tree.
    ("turnup-plan", &["turnup-core", "turnup-files", "turnup-netconf"]),
    ("turnup-broker", &["turnup-core"]),
    ("turnup-store", &["turnup-core"]),
    ("turnup-library", &["turnup-core", "turnup-plan", "turnup-store"]),
    (
        "turnup-intake",
        &[
            "turnup-core",
            "turnup-files",
            "turnup-plan",
            "turnup-library",
            "turnup-broker",
            "turnup-store",
            "turnup-crashpoint",
        ],
    ),
    (
        "turnup-scheduler",
        &[
            "turnup-core",
            "turnup-plan",
            "turnup-library",
            "turnup-broker",
            "turnup-store",
            "turnup-crashpoint",
        ],
    ),
    ("turnup-recorder", &["turnup-core", "turnup-broker", "turnup-store", "turnup-crashpoint"]),
    ("turnup-worker", &["turnup-core", "turnup-broker", "turnup-netconf", "turnup-crashpoint"]),
    ("turnup-device-sim", &["turnup-netconf"]),
    // The composition root and what tests and measures the whole may import all.
    ("turnup", &["*"]),
    ("turnup-bench", &["*"]),
];

/// Libraries that only one crate of ours may import.
const OWNED: [(&str, &str); 6] = [
    ("lapin", "turnup-broker"),
    ("tokio-postgres", "turnup-store"),
    ("deadpool-postgres", "turnup-store"),
    ("russh", "turnup-netconf"),
    ("quick-xml", "turnup-netconf"),
    ("yang5", "turnup-plan"),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    metadata
        .packages
        .iter()
        .map(|package| {
            let normal = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
            (package.name.to_string(), normal.map(|d| d.name.clone()).collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    for (name, imports) in dependencies().iter().filter(|(name, _)| *name != "turnup-tests") {
        let may =
            allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the rules of this test"));
        for import in imports.iter().filter(|import| import.starts_with("turnup")) {
            assert!(may.contains(&"*") || may.contains(&import.as_str()), "{name} must not import {import}");
        }
    }
}

#[test]
fn libraries_stay_inside_the_crate_that_owns_them() {
    // Tests and benchmark speak with servers as foreign clients do.
    for (name, imports) in
        dependencies().iter().filter(|(name, _)| !["turnup-tests", "turnup-bench"].contains(&name.as_str()))
    {
        for (library, owner) in OWNED {
            assert!(
                !imports.contains(library) || name == owner,
                "{name} must not import {library}: {owner} owns it"
            );
        }
    }
}

#[test]
fn the_pure_core_has_no_io() {
    let imports = &dependencies()["turnup-core"];
    for library in ["tokio", "axum", "reqwest", "rand", "lapin", "tokio-postgres", "russh", "tracing"] {
        assert!(!imports.contains(library), "turnup-core must not import {library}");
    }
}

/// `docs/lifecycle.md` holds the tables of the code. UPDATE_DOCS=1 writes them.
#[test]
fn the_life_cycles_are_documented() {
    in_document("docs/lifecycle.md", &turnup_core::lifecycle::tables());
}

/// `docs/messaging.md` holds the topology of the code.
#[test]
fn the_topology_is_documented() {
    let options = turnup_broker::topology::Options {
        regions: vec!["eu-west".to_owned()],
        ..turnup_broker::topology::Options::default()
    };
    let table = turnup_broker::topology::Table::new(&turnup_broker::Names::new("turnup"), &options);
    in_document("docs/messaging.md", &table.markdown());
}

fn in_document(path: &str, generated: &str) {
    const BEGIN: &str = "<!-- generated: begin -->\n";
    const END: &str = "<!-- generated: end -->";
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("a begin mark");
    let (_, tail) = rest.split_once(END).expect("an end mark");
    let wanted = format!("{head}{BEGIN}{generated}{END}{tail}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "{path} is not what the code says; run UPDATE_DOCS=1 cargo test -p turnup-tests --test architecture"
        );
    }
}
