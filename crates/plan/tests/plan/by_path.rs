//! Lists of one name with different keys, as OpenConfig has them, with and without YANG.

use std::collections::BTreeMap;

use serde_json::json;
use turnup_core::name::PlatformName;
use turnup_plan::{Footprint, ModuleText, Yang};

use crate::{endpoints, folder::Folder, service};

const TEMPLATE: &str = r#"<interfaces xmlns="http://openconfig.net/yang/interfaces"><interface><name>{{ attributes.port }}</name><subinterfaces><subinterface><index>{{ attributes.vlan }}</index></subinterface></subinterfaces></interface></interfaces>
<network-instances xmlns="http://openconfig.net/yang/network-instance"><network-instance><name>{{ attributes.vrf }}</name><interfaces><interface><id>{{ attributes.port }}.{{ attributes.vlan }}</id></interface></interfaces></network-instance></network-instances>"#;

const BY_PATH: &str = "{interface: [name], subinterface: [index], network-instance: [name], network-instances/network-instance/interfaces/interface: [id]}";

const INTERFACES: &str = r#"module openconfig-interfaces {
  namespace "http://openconfig.net/yang/interfaces"; prefix oc-if; revision 2024-01-01;
  container interfaces { list interface { key "name"; leaf name { type string; }
    container subinterfaces { list subinterface { key "index"; leaf index { type uint32; } } } } }
}"#;

const INSTANCES: &str = r#"module openconfig-network-instance {
  namespace "http://openconfig.net/yang/network-instance"; prefix oc-ni; revision 2024-01-01;
  container network-instances { list network-instance { key "name"; leaf name { type string; }
    container interfaces { list interface { key "id"; leaf id { type string; } } } } }
}"#;

fn folder(keys: &str) -> Folder {
    let definition = format!(
        "name: oc
version: 1
title: OpenConfig
attributes: {{properties: {{port: {{type: string}}, vlan: {{type: integer}}, vrf: {{type: string}}}}, required: [port, vlan, vrf]}}
endpoints: {{device: {{}}}}
platforms:
  oc:
    template: oc.xml.j2
{keys}
    owns: [interfaces/interface/subinterfaces/subinterface, network-instances/network-instance/interfaces/interface]
example:
  attributes: {{port: eth1, vlan: 7, vrf: red}}
  endpoints: [{{role: device, device: pe1}}]
"
    );
    Folder::with(&[("oc/definition.yaml", &definition), ("oc/oc.xml.j2", TEMPLATE)])
}

fn yang() -> Yang {
    let text =
        |name: &str, text: &str| ModuleText { name: name.to_owned(), revision: None, text: text.to_owned() };
    Yang::from_texts(vec![
        text("openconfig-interfaces", INTERFACES),
        text("openconfig-network-instance", INSTANCES),
    ])
    .unwrap()
}

fn footprint(keys: &str, yang: Option<&Yang>) -> Footprint {
    let catalogue = folder(keys).load().unwrap();
    let definition = catalogue.get(&"oc".parse().unwrap()).unwrap();
    let attributes = json!({"port": "eth1", "vlan": 7, "vrf": "red"});
    let platforms = BTreeMap::from([("pe1".parse().unwrap(), PlatformName::new("oc").unwrap())]);
    let ends = endpoints(json!([{"role": "device", "device": "pe1"}]));
    let of = |_: &PlatformName| yang.cloned();
    let all = definition
        .footprints_with(service(), attributes.as_object().unwrap(), &ends, &platforms, &of)
        .unwrap();
    all.into_values().next().unwrap()
}

#[test]
fn lists_of_one_name_have_the_keys_of_their_paths() {
    let by_path = format!("    keys: {BY_PATH}");
    for (keys, with_yang) in [(by_path.as_str(), false), (by_path.as_str(), true), ("", true)] {
        let yang = yang();
        let footprint = footprint(keys, with_yang.then_some(&yang));
        assert_eq!(
            footprint.owned_nodes(),
            [
                "/interfaces/interface[name='eth1']/subinterfaces/subinterface[index='7']",
                "/network-instances/network-instance[name='red']/interfaces/interface[id='eth1.7']",
            ],
            "{keys} {with_yang}"
        );
        assert_eq!(footprint.check(&yang), Ok(()));
        let edit = crate::change(None, Some(&footprint)).unwrap();
        assert!(edit.inverse.contains("<interface xmlns:nc=") && edit.inverse.contains("<id>eth1.7</id>"));
        assert!(edit.filter.contains("<interface><id>eth1.7</id></interface>"), "{}", edit.filter);
        let path = "network-instances/network-instance/interfaces/interface";
        assert!(edit.keys.get(path).is_some_and(|keys| keys == &["id"]), "{:?}", edit.keys);
    }
}

#[test]
fn a_list_without_its_key_is_told_how_to_be_declared() {
    let mistakes =
        folder("    keys: {interface: [name], subinterface: [index], network-instance: [name]}").mistakes();
    assert!(
        mistakes
            .iter()
            .any(|mistake| mistake.contains("network-instances/network-instance/interfaces/interface: […]")),
        "{mistakes:?}"
    );
    let mistakes =
        folder("    keys: {oc-if:interface: [name], a//b: [c]}\n    ordered: [a/b, /c]").mistakes();
    for part in ["\"oc-if:interface\" is no list", "\"a//b\" is no list", "\"/c\" is no path"] {
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part} {mistakes:?}");
    }
}
