//! The shipped definitions: whatever an order says, what is rendered is XML that carries exactly that.

use std::{collections::BTreeSet, path::Path};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use turnup_core::{audit::CheckAsk, name::PlatformName, order::Endpoint};
use turnup_netconf::xml::{Element, Limits, parse_str};
use turnup_plan::{Catalogue, Definition, Yang};

use crate::{check, definition, endpoints, folder::Folder, properties::text, service, shipped};

/// A definition's example order, as it stands in its file.
pub(crate) fn example(definition: &Definition) -> (Map<String, Value>, Vec<Endpoint>) {
    let yaml = turnup_files::yaml::parse(&definition.bundle().files()["definition.yaml"]).unwrap().to_json();
    let attributes = yaml["example"]["attributes"].as_object().cloned().unwrap_or_default();
    (attributes, endpoints(yaml["example"]["endpoints"].clone()))
}

fn leaves(element: &Element, found: &mut Vec<String>) {
    if element.is_leaf() {
        found.push(element.raw_text().into_owned());
    }
    element.children().for_each(|child| leaves(child, found));
}

fn values_in(xml: &str) -> Vec<String> {
    let root = parse_str(&format!("<x>{xml}</x>"), &Limits::default()).unwrap();
    let mut found = Vec::new();
    leaves(&root, &mut found);
    found
}

fn names_in(xml: &str) -> BTreeSet<String> {
    fn visit(element: &Element, found: &mut BTreeSet<String>) {
        found.insert(element.name().to_owned());
        element.children().for_each(|child| visit(child, found));
    }
    let mut found = BTreeSet::new();
    visit(&parse_str(&format!("<x>{xml}</x>"), &Limits::default()).unwrap(), &mut found);
    found
}

/// Every attribute of every definition that takes any text: (definition, endpoint's or service's, name).
fn free_texts(catalogue: &Catalogue) -> Vec<(String, bool, String)> {
    let mut found = Vec::new();
    for definition in catalogue.iter() {
        let summary = definition.summary();
        let roles = summary.endpoints.iter().map(|role| (true, &role.attributes));
        for (of_endpoint, schema) in roles.chain([(false, &summary.attributes)]) {
            for (name, property) in schema["properties"].as_object().unwrap() {
                let constrained = ["pattern", "format", "enum"].iter().any(|key| property.get(key).is_some());
                if property["type"] == "string" && !constrained {
                    found.push((summary.name.to_string(), of_endpoint, name.clone()));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn every_definition_has_an_example_that_is_rendered() {
    let catalogue = shipped();
    let texts = free_texts(catalogue);
    let expected =
        [("elan", "port"), ("eline", "description"), ("interface", "description"), ("l3vpn", "port")];
    for (definition, attribute) in expected {
        assert!(
            texts.iter().any(|(found, _, name)| found == definition && name == attribute),
            "{definition} {attribute}: {texts:?}"
        );
    }
    for definition in catalogue.iter() {
        let (_, endpoints) = example(definition);
        assert!(!endpoints.is_empty(), "{definition:?}");
    }
}

/// What is rendered for the simulated devices is what their YANG allows.
#[test]
fn examples_conform_to_yang() {
    let yang = Path::new(env!("CARGO_MANIFEST_DIR")).join("../device-sim/yang");
    let yang = Yang::load_folder(&yang).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let yang_of = |platform: &PlatformName| (platform.as_str() == "sim").then(|| yang.clone());
    for definition in shipped().iter() {
        let mistakes = definition.example_mistakes(&yang_of);
        assert!(mistakes.is_empty(), "{mistakes:#?}");
    }
}

const KEYLESS: &str = "name: any
version: 1
title: Any
attributes: {properties: {mtu: {type: integer}}, required: [mtu]}
endpoints: {device: {}}
platforms:
  sim: {template: sim.xml.j2, owns: [interfaces/interface/unit]}
example:
  attributes: {mtu: 1500}
  endpoints: [{role: device, device: d1}]
";

/// Without `keys`, only YANG can say whether the example is right.
#[test]
fn what_yang_alone_can_say() {
    let template = |unit: &str| {
        format!(
            "<interfaces xmlns='urn:turnup:sim'><interface><name>p1</name><unit>{unit}\
             <mtu>{{{{ attributes.mtu }}}}</mtu></unit></interface></interfaces>"
        )
    };
    let yang = Path::new(env!("CARGO_MANIFEST_DIR")).join("../device-sim/yang");
    let yang = Yang::load_folder(&yang).unwrap();
    let mistakes = |unit: &str, with_yang: bool| -> Vec<String> {
        let folder = Folder::with(&[("any/definition.yaml", KEYLESS), ("any/sim.xml.j2", &template(unit))]);
        let catalogue = folder.load().unwrap();
        let found = definition(&catalogue, "any").example_mistakes(&|_| with_yang.then(|| yang.clone()));
        found.into_iter().map(|mistake| mistake.to_string()).collect()
    };
    assert_eq!(mistakes("<id>1</id>", true), Vec::<String>::new());
    let without = mistakes("<id>1</id>", false);
    assert_eq!(without.len(), 1);
    assert!(
        without[0].starts_with("any/sim.xml.j2:1: the example on sim: /interfaces/interface/"),
        "{without:?}"
    );
    let keyless = mistakes("", true);
    assert!(keyless[0].contains("without its key leaf \"id\""), "{keyless:?}");
    let beyond = mistakes("<id>1</id><vlan-id>5000</vlan-id>", true);
    assert!(beyond.len() == 1 && beyond[0].contains("vlan-id"), "{beyond:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Every free text of every definition, on every platform: the XML is well-formed, has the same
    /// elements as with a harmless text, and somewhere the text itself.
    #[test]
    fn texts_are_carried_and_never_become_markup(value in text(40)) {
        // A key that is nothing but white space identifies nothing.
        prop_assume!(value.contains(|c: char| !" \t\r\n".contains(c)));
        let catalogue = shipped();
        for (name, of_endpoint, attribute) in free_texts(catalogue) {
            let definition = definition(catalogue, &name);
            for platform in definition.platforms() {
                let with = |value: &str| {
                    let (mut attributes, mut endpoints) = example(definition);
                    if of_endpoint {
                        endpoints[0].attributes.insert(attribute.clone(), json!(value));
                    } else {
                        attributes.insert(attribute.clone(), json!(value));
                    }
                    let checked = definition.check(&attributes, &endpoints, |_| Some(platform.clone())).unwrap();
                    let (attributes, endpoints) = (&checked.attributes, &checked.endpoints);
                    let device = &endpoints[0].device;
                    let planned = definition
                        .footprints(service(), attributes, endpoints, &checked.platforms)
                        .unwrap();
                    let checks = definition.checks(service(), attributes, endpoints, &checked.platforms, device).unwrap();
                    (planned[device].clone(), checks)
                };
                let (footprint, checks) = with(&value);
                let (harmless, harmless_checks) = with("harmless");
                prop_assert_eq!(names_in(footprint.config()), names_in(harmless.config()));
                let values = values_in(footprint.config());
                prop_assert!(values.iter().any(|found| found.contains(&value)), "{} {} in {:?}", name, attribute, values);
                for (check, harmless) in checks.iter().zip(&harmless_checks) {
                    let (asked, harmless) = match (&check.ask, &harmless.ask) {
                        (CheckAsk::Get(a), CheckAsk::Get(b)) | (CheckAsk::Rpc(a), CheckAsk::Rpc(b)) => (a, b),
                        _ => unreachable!(),
                    };
                    prop_assert_eq!(names_in(asked), names_in(harmless));
                }
            }
        }
    }
}

/// The orders in the README's table are enough.
#[test]
fn the_shortest_orders_are_enough() {
    let catalogue = shipped();
    let a = json!({"role": "a", "device": "pe1", "attributes": {"port": "ge-0/0/1"}});
    let z = json!({"role": "z", "device": "pe2", "attributes": {"port": "ge-0/0/7"}});
    let site = |attributes: Value| json!([{"role": "site", "device": "pe1", "attributes": attributes}]);
    for (name, attributes, given, picked) in [
        ("interface", json!({"name": "ge-0/0/1"}), json!([{"role": "device", "device": "pe1"}]), 0),
        ("eline", json!({}), json!([a, z]), 3),
        ("elan", json!({}), site(json!({"port": "ge-0/0/1"})), 4),
        ("l3vpn", json!({}), site(json!({"port": "ge-0/0/1", "address": "192.0.2.1/30"})), 3),
    ] {
        let definition = definition(catalogue, name);
        let mut checked = check(definition, attributes, given, "sim").unwrap();
        let claims = definition.claims(&checked, catalogue.pools(), Some(&"eu".parse().unwrap())).unwrap();
        assert_eq!(claims.len(), picked, "{name}");
        for claim in claims {
            let value = claim.pool.value(claim.pool.from);
            claim.place.put(&mut checked.attributes, &mut checked.endpoints, value);
        }
        let (attributes, endpoints) = (&checked.attributes, &checked.endpoints);
        let again = definition.check(attributes, endpoints, |_| Some("sim".parse().unwrap())).unwrap();
        assert_eq!(again, checked, "{name}: what was picked is allowed");
        let planned = definition.footprints(service(), attributes, endpoints, &checked.platforms);
        assert!(planned.is_ok(), "{name}: {planned:?}");
    }
}
