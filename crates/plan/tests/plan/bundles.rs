//! Definitions as they are published: bundles, versions, and the catalogue that changes while it is used.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use turnup_plan::{BadBundle, Bundle, Catalogue, Definition, Library, MAX_BUNDLE_BYTES, MAX_FILE_BYTES};

use crate::folder::Folder;

const YAML: &str = "name: good
version: 1
title: Good
endpoints: {device: {}}
platforms:
  sim: {template: sim.xml.j2, owns: [a/b]}
example: {endpoints: [{role: device, device: d1}]}
";
const TEMPLATE: &str = "<a xmlns='urn:x'><b>x</b></a>";

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn bundle(yaml: &str) -> Bundle {
    Bundle::new(files(&[("definition.yaml", yaml), ("sim.xml.j2", TEMPLATE)])).unwrap()
}

fn mistakes(bundle: &Bundle) -> Vec<String> {
    bundle.compile().unwrap_err().into_iter().map(|mistake| mistake.to_string()).collect()
}

#[test]
fn a_bundle_is_what_the_definition_names() {
    let folder = Folder::with(&[
        ("good/definition.yaml", YAML),
        ("good/sim.xml.j2", TEMPLATE),
        ("good/README.md", "about it"),
        ("good/sim.xml.j2~", "an editor's"),
        ("good/more/x", "a folder"),
    ]);
    let read = Bundle::read(&folder.path().join("good")).unwrap();
    assert_eq!(read, bundle(YAML), "what nothing names doesn't matter");
    let definition = folder.load().unwrap();
    let definition = definition.get(&"good".parse().unwrap()).unwrap();
    assert_eq!(definition.bundle(), &read);
    assert_eq!(read.compile().unwrap().version(), 1);
}

#[test]
fn digests_say_whether_anything_differs() {
    let digest = bundle(YAML).digest();
    assert_eq!(digest, bundle(YAML).digest());
    let json = serde_json::to_string(&bundle(YAML)).unwrap();
    assert_eq!(serde_json::from_str::<Bundle>(&json).unwrap().digest(), digest);
    assert_ne!(bundle(&format!("{YAML}\n")).digest(), digest);
    // The same bytes, divided otherwise.
    let two =
        |a: &str, b: &str, c: &str| Bundle::new(files(&[("definition.yaml", a), (b, c)])).unwrap().digest();
    assert_ne!(two("x", "a", "bc"), two("x", "ab", "c"));
}

#[test]
fn mistakes_name_definition_and_file() {
    let bad = Bundle::new(files(&[
        ("definition.yaml", YAML),
        ("sim.xml.j2", "<a xmlns='urn:x'>\n<b>{{ servis.id }}</b></a>"),
        ("left-over.j2", ""),
    ]))
    .unwrap();
    assert_eq!(
        mistakes(&bad),
        [
            "good/left-over.j2:1: nothing in definition.yaml names this file; leave it out",
            "good/sim.xml.j2:2: there is no variable \"servis\"; did you mean \"service\"?",
        ]
    );
    let bad = bundle(&YAML.replace("name: good", "name: a b").replace("title: Good", "titel: x"));
    assert_eq!(mistakes(&bad).len(), 3);
    assert!(mistakes(&bad)[0].starts_with("definition.yaml:1: "), "{:?}", mistakes(&bad));
    assert!(mistakes(&bundle("- 1\n"))[0].starts_with("definition.yaml:1: a definition must be a map"));
    assert!(mistakes(&bundle("a: [\n"))[0].starts_with("definition.yaml:"));
    let missing = Bundle::new(files(&[("definition.yaml", YAML)])).unwrap();
    assert_eq!(
        mistakes(&missing),
        [
            "good/definition.yaml:6: the template sim.xml.j2 can't be read: there is no such file in the folder"
        ]
    );
}

#[test]
fn bundles_are_bounded() {
    let refused = |given: &[(&str, &str)]| Bundle::new(files(given)).unwrap_err();
    for name in ["../x", "a/b", "", ".hidden", "é", "a b", "C:\\x"] {
        let error = refused(&[("definition.yaml", YAML), (name, "")]);
        assert!(matches!(error, BadBundle::Name { .. }), "{name}: {error}");
    }
    assert_eq!(refused(&[("sim.xml.j2", "")]), BadBundle::NoMain);
    let large = "#".repeat(MAX_FILE_BYTES + 1);
    assert!(matches!(refused(&[("definition.yaml", &large)]), BadBundle::File { .. }));
    let half = "#".repeat(MAX_FILE_BYTES);
    assert_eq!(
        refused(&[("definition.yaml", &half), ("a", &half), ("b", "#")]),
        BadBundle::Bytes { bytes: MAX_BUNDLE_BYTES + 1 }
    );
    let many = (0..65).map(|n| (format!("f{n}"), String::new())).collect();
    assert_eq!(Bundle::new(many).unwrap_err(), BadBundle::Files { count: 65 });
    for bad in [
        json!({"files": {"x": ""}}),
        json!({"files": {}, "more": 1}),
        json!({"files": {"definition.yaml": 1}}),
    ] {
        assert!(serde_json::from_value::<Bundle>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn the_newest_version_is_the_one_without_a_number() {
    let name = "good".parse().unwrap();
    let version = |n: u32| -> Arc<Definition> {
        Arc::new(bundle(&YAML.replace("version: 1", &format!("version: {n}"))).compile().unwrap())
    };
    let mut catalogue = Catalogue::default();
    for n in [2, 10, 1] {
        catalogue.insert(version(n));
    }
    assert_eq!(catalogue.get(&name).unwrap().version(), 10);
    assert_eq!(catalogue.version(&name, 2).unwrap().version(), 2);
    assert!(catalogue.version(&name, 3).is_none());
    assert_eq!(catalogue.versions(&name).collect::<Vec<_>>(), [1, 2, 10]);
    assert_eq!(catalogue.versions(&"other".parse().unwrap()).count(), 0);
    assert_eq!(catalogue.iter().map(Definition::version).collect::<Vec<_>>(), [10]);

    let library = Library::new(catalogue);
    let before = library.now();
    let clone = library.clone();
    clone.update(|now| {
        let mut new = now.clone();
        new.insert(version(11));
        new
    });
    assert_eq!(before.get(&name).unwrap().version(), 10);
    assert_eq!(library.now().get(&name).unwrap().version(), 11);
    assert_eq!(library.now().versions(&name).count(), 4);
}
