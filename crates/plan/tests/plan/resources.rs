//! Resources: which values an order takes from pools, and what is wrong with those it gives.

use serde_json::{Value, json};
use turnup_core::{
    name::RegionName,
    problem::Fault,
    resource::{Place, ResourceClaim},
};
use turnup_plan::{Catalogue, Checked, Definition, Pools};

use crate::{check, definition, endpoints, folder::Folder, service, shipped};

fn region() -> RegionName {
    "eu-west".parse().unwrap()
}

fn claims(catalogue: &Catalogue, checked: &Checked) -> Result<Vec<ResourceClaim>, Vec<Fault>> {
    definition(catalogue, "eline").claims(checked, catalogue.pools(), Some(&region()))
}

fn line(attributes: Value, a: Value, z: Value) -> (&'static Catalogue, Checked) {
    let catalogue = shipped();
    let given = json!([
        {"role": "a", "device": "pe1", "attributes": a},
        {"role": "z", "device": "pe2", "attributes": z},
    ]);
    let checked = check(definition(catalogue, "eline"), attributes, given, "sim").unwrap();
    (catalogue, checked)
}

#[test]
fn what_is_left_out_is_claimed_and_can_be_filled_in() {
    let (catalogue, mut checked) = line(json!({}), json!({"port": "p1", "vlan": 100}), json!({"port": "p2"}));
    let found = claims(catalogue, &checked).unwrap();
    let short: Vec<_> = found
        .iter()
        .map(|claim| (claim.name.as_str(), claim.scope.as_str(), claim.place.pointer(), claim.given.clone()))
        .collect();
    assert_eq!(
        short,
        [
            ("vc-id", "", "/attributes/vc_id".to_owned(), None),
            ("vlan", "pe1/p1", "/endpoints/0/attributes/vlan".to_owned(), Some(json!(100))),
            ("vlan", "pe2/p2", "/endpoints/1/attributes/vlan".to_owned(), None),
        ]
    );
    assert_eq!((found[0].pool.from, found[2].pool.from), (100_000, 2), "picked from 'pick_from'");
    // As the store fills them in.
    for claim in found.iter().filter(|claim| claim.given.is_none()) {
        let value = claim.pool.value(claim.pool.from);
        claim.place.put(&mut checked.attributes, &mut checked.endpoints, value);
    }
    let eline = definition(catalogue, "eline");
    let again =
        eline.check(&checked.attributes, &checked.endpoints, |_| Some("sim".parse().unwrap())).unwrap();
    assert_eq!(again, checked);
    let planned = eline.footprints(service(), &again.attributes, &again.endpoints, &again.platforms).unwrap();
    let config = planned[&"pe2".parse().unwrap()].config();
    assert!(config.contains("<vlan-id>2</vlan-id>") && config.contains("<vc-id>100000</vc-id>"), "{config}");
}

#[test]
fn everything_that_the_schema_allows_may_be_given() {
    for (vc_id, vlan) in [(1, 1), (4_294_967_295_u32, 4094)] {
        let attributes = json!({"port": "p", "vlan": vlan});
        let (catalogue, checked) = line(json!({"vc_id": vc_id}), attributes.clone(), attributes);
        assert_eq!(claims(catalogue, &checked).unwrap()[0].given, Some(json!(vc_id)));
    }
}

fn folder(definition: &str, pools: &str) -> Folder {
    Folder::with(&[
        ("vpn/definition.yaml", definition),
        ("vpn/sim.xml.j2", "<a xmlns='urn:x'><b>{{ attributes.rt }}</b></a>"),
        ("pools.yaml", pools),
    ])
}

const VPN: &str = "name: vpn
version: 1
title: Vpn
attributes:
  properties: {rt: {type: string}}
  required: [rt]
resources:
  rt: {pool: rt}
endpoints:
  site:
    max: 4
    attributes:
      properties: {port: {type: string}, slot: {type: integer}, vlan: {type: integer, minimum: 2, maximum: 4094}}
    resources:
      vlan: {pool: vlan, within: [slot, port]}
same_device: true
platforms:
  sim: {template: sim.xml.j2, owns: [a/b]}
";

const POOLS: &str = "rt: {title: Route targets, scope: region, from: 1, to: 99, format: '65000:{}'}
vlan: {title: VLANs, scope: device, from: 2, to: 4094}
";

fn vpn(rt: Value, sites: &[Value]) -> Result<Vec<ResourceClaim>, Vec<(String, String)>> {
    let catalogue = folder(VPN, POOLS).load().unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let vpn = definition(&catalogue, "vpn");
    let sites: Vec<Value> = sites
        .iter()
        .map(|attributes| json!({"role": "site", "device": "pe1", "attributes": attributes}))
        .collect();
    let attributes = if rt.is_null() { json!({}) } else { json!({ "rt": rt }) };
    let checked = check(vpn, attributes, json!(sites), "sim").unwrap();
    vpn.claims(&checked, catalogue.pools(), Some(&region()))
        .map_err(|faults| faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect())
}

#[test]
fn scopes_say_within_what_a_value_is_unique() {
    let claims =
        vpn(json!(null), &[json!({"port": "p1", "slot": 3}), json!({"port": "p2", "slot": 3, "vlan": 7})])
            .unwrap();
    let scopes: Vec<_> = claims.iter().map(|claim| claim.scope.as_str()).collect();
    assert_eq!(scopes, ["eu-west", "pe1/3/p1", "pe1/3/p2"]);
    assert_eq!(claims[0].pool.value(claims[0].pool.from), "65000:1");
}

#[test]
fn what_is_unique_within_a_region_is_not_for_orders_over_several() {
    let catalogue = folder(VPN, POOLS).load().unwrap();
    let vpn = definition(&catalogue, "vpn");
    let sites = json!([{"role": "site", "device": "pe1", "attributes": {"port": "p1", "slot": 3}}]);
    let checked = check(vpn, json!({}), sites, "sim").unwrap();
    let faults = vpn.claims(&checked, catalogue.pools(), None).unwrap_err();
    let [fault] = &faults[..] else { panic!("only the one pool: {faults:?}") };
    assert_eq!((fault.pointer.as_str(), fault.code.as_str()), ("/attributes/rt", "several_regions"));
    for part in ["pool rt", "one order per region", "network or device"] {
        assert!(fault.detail.contains(part), "{part} in {}", fault.detail);
    }
}

#[test]
fn given_values_must_be_the_pools() {
    let place = |pointer: &str, code: &str| vec![(pointer.to_owned(), code.to_owned())];
    for bad in ["65000:0", "65000:100", "65000:07", "65001:7", "7", "65000:", "65000:7 "] {
        let site = json!({"port": "p", "slot": 1});
        assert_eq!(vpn(json!(bad), &[site]).unwrap_err(), place("/attributes/rt", "out_of_pool"), "{bad}");
    }
    assert_eq!(
        vpn(json!("65000:7"), &[json!({"port": "p"})]).unwrap_err(),
        place("/endpoints/0/attributes/slot", "missing")
    );
    let twice = json!({"port": "p", "slot": 1, "vlan": 7});
    assert_eq!(
        vpn(json!("65000:7"), &[twice.clone(), twice]).unwrap_err(),
        place("/endpoints/1/attributes/vlan", "duplicate")
    );
}

#[test]
fn a_modify_keeps_what_the_service_has() {
    let (catalogue, mut checked) =
        line(json!({}), json!({"port": "p1"}), json!({"port": "moved", "vlan": 9}));
    let eline = definition(catalogue, "eline");
    let present = json!({"vc_id": 100_007, "mtu": 1400});
    let was = endpoints(json!([
        {"role": "a", "device": "pe1", "attributes": {"port": "p1", "vlan": 17}},
        {"role": "z", "device": "pe2", "attributes": {"port": "p2", "vlan": 18}},
    ]));
    eline.keep_resources(&mut checked, present.as_object().unwrap(), &was);
    assert_eq!(checked.attributes["vc_id"], 100_007);
    assert_eq!(checked.attributes["mtu"], 1500, "only resources are kept");
    assert_eq!(checked.endpoints[0].attributes["vlan"], 17);
    assert_eq!(checked.endpoints[1].attributes["vlan"], 9, "what is given stays");

    let (_, mut checked) = line(json!({"vc_id": 5}), json!({"port": "other"}), json!({"port": "p2"}));
    eline.keep_resources(&mut checked, present.as_object().unwrap(), &was);
    assert_eq!(checked.attributes["vc_id"], 5);
    assert!(!checked.endpoints[0].attributes.contains_key("vlan"), "on another port another is picked");
    assert_eq!(checked.endpoints[1].attributes["vlan"], 18);
}

/// Two endpoints of one place each keep their own.
#[test]
fn endpoints_that_look_alike_keep_different_values() {
    let catalogue = folder(VPN, POOLS).load().unwrap();
    let vpn = definition(&catalogue, "vpn");
    let site = |vlan: Option<u16>| {
        let mut attributes = json!({"port": "p", "slot": 1});
        if let Some(vlan) = vlan {
            attributes["vlan"] = json!(vlan);
        }
        json!({"role": "site", "device": "pe1", "attributes": attributes})
    };
    let given = json!([site(None), site(Some(8)), site(None), site(None)]);
    let mut checked = check(vpn, json!({"rt": "65000:1"}), given, "sim").unwrap();
    let was = endpoints(json!([site(Some(7)), site(Some(8)), site(Some(9))]));
    vpn.keep_resources(&mut checked, &serde_json::Map::new(), &was);
    let vlans: Vec<_> = checked.endpoints.iter().map(|site| site.attributes.get("vlan").cloned()).collect();
    let mut kept: Vec<_> = vlans.iter().flatten().map(|vlan| vlan.as_u64().unwrap()).collect();
    kept.sort_unstable();
    assert_eq!(kept, [7, 8, 9], "{vlans:?}");
    assert_eq!(vlans[1], Some(json!(8)));

    // One that leaves it out doesn't take what a later one gives.
    let given = json!([site(None), site(Some(7))]);
    let mut checked = check(vpn, json!({"rt": "65000:1"}), given, "sim").unwrap();
    vpn.keep_resources(&mut checked, &serde_json::Map::new(), &was);
    assert_eq!(checked.endpoints[0].attributes["vlan"], 8);
    assert_eq!(checked.endpoints[1].attributes["vlan"], 7);
}

fn mistakes(replace: &str, by: &str) -> Vec<String> {
    assert!(VPN.contains(replace), "{replace}");
    folder(&VPN.replace(replace, by), POOLS).mistakes()
}

#[test]
fn bad_uses_of_pools() {
    assert_eq!(
        mistakes("  rt: {pool: rt}\n", "  rf: {pool: rt}\n"),
        ["vpn/definition.yaml:8: there is no attribute \"rf\"; known are rt"]
    );
    assert_eq!(
        mistakes("rt: {pool: rt}\n", "rt: {pool: vlna}\n"),
        ["vpn/definition.yaml:8: there is no pool \"vlna\"; did you mean \"vlan\"?"]
    );
    assert_eq!(
        mistakes("rt: {pool: rt}\n", "rt: {pol: rt}\n"),
        [
            "vpn/definition.yaml:8: in resource \"rt\" there is no key \"pol\"; did you mean \"pool\"?",
            "vpn/definition.yaml:8: the key \"pool\" is missing"
        ]
    );
    assert!(mistakes("rt: {pool: rt}\n", "rt: {pool: vlan}\n")[0].contains("is per device"));
    assert_eq!(
        mistakes("within: [slot, port]", "within: [solt]"),
        ["vpn/definition.yaml:15: there is no attribute \"solt\"; did you mean \"slot\"?"]
    );
    assert!(mistakes("within: [slot, port]", "within: [vlan]")[0].contains("may itself have to be picked"));
    assert!(
        mistakes("vlan: {pool: vlan, within", "vlan: {pool: rt, within")[0]
            .starts_with("vpn/definition.yaml:15: 'within' is for pools per device")
    );
    assert_eq!(
        mistakes("maximum: 4094", "maximum: 4000"),
        ["vpn/definition.yaml:15: the pool \"vlan\" can give 4094, which \"vlan\" doesn't allow: \
             4094 is greater than the maximum of 4000"]
    );
    assert!(mistakes("rt: {type: string}", "rt: {type: integer}")[0].contains("can give \"65000:1\""));
    assert!(mistakes("minimum: 2", "multipleOf: 2")[0].contains("can give 3"));
    assert_eq!(
        mistakes("rt: {type: string}", "rt: {type: string, default: x}"),
        ["vpn/definition.yaml:5: a resource that is left out comes from its pool, so it has no default"]
    );
    let example = "example: {attributes: {rt: '65000:1'}, endpoints: [{role: site, device: d, attributes: {port: p}}]}\n";
    let found = folder(&format!("{VPN}{example}"), POOLS).mistakes();
    assert_eq!(
        found,
        [
            "vpn/definition.yaml:19: the example must give \"vlan\" a value, though orders may leave it to the pool \"vlan\""
        ]
    );
}

#[test]
fn bad_pools() {
    let found = |text: &str| -> Vec<String> {
        Pools::parse(text).unwrap_err().into_iter().map(|mistake| mistake.to_string()).collect()
    };
    let bad = "vlan: {title: VLANs, scope: devise, from: 2, to: 4094}
rt:
  title: ''
  scope: network
  from: 9
  to: 1
  fromat: x
up: {title: Up, scope: network, from: 1, to: 9, pick_from: 10, format: '{}:{}'}
half: {title: Half, scope: network, from: 1.5, to: -1}
a b: {title: A, scope: network, from: 1, to: 2}
";
    let mistakes = found(bad);
    for expected in [
        "pools.yaml:1: ",
        "pools.yaml:3: title must not be empty",
        "pools.yaml:7: in pool \"rt\" there is no key \"fromat\"; did you mean \"format\" or \"from\"?",
        "pools.yaml:8: \"{}:{}\" is no format",
        "pools.yaml:8: 'pick_from' of pool \"up\" must lie between 1 and 9",
        "pools.yaml:9: from must be a whole number from 0 to 9007199254740992",
        "pools.yaml:9: to must be a whole number",
        "pools.yaml:10: \"a b\" is no name of a pool",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(expected)), "{expected}\n{mistakes:#?}");
    }
    assert!(mistakes[0].contains("device"), "{mistakes:?}");
    assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
    assert_eq!(found("p: {title: P, scope: network, from: 3, to: 2}\n").len(), 1);
    assert!(found("- 1\n")[0].starts_with("pools.yaml:1: the pools must be a map"));
    assert!(found("a: [\n")[0].starts_with("pools.yaml:"));
    // One mistake in the pools is not one in every definition that uses them.
    assert_eq!(folder(VPN, "rt: {}\n").mistakes().len(), 4);
    let nowhere = Folder::with(&[("vpn/definition.yaml", VPN), ("vpn/sim.xml.j2", "<a xmlns='urn:x'/>")]);
    assert_eq!(
        nowhere.mistakes()[0],
        "vpn/definition.yaml:8: there is no pool \"rt\"; pools are declared in pools.yaml of the catalogue"
    );
}

/// A definition is published without the folder's pools at hand; then they are checked apart.
#[test]
fn pools_are_checked_apart() {
    let catalogue = folder(VPN, POOLS).load().unwrap();
    let vpn: &Definition = definition(&catalogue, "vpn");
    assert!(vpn.pool_mistakes(catalogue.pools()).is_empty());
    let mistakes = vpn.pool_mistakes(&Pools::default());
    assert_eq!(mistakes.len(), 2);
    assert_eq!(mistakes[0].file.to_str(), Some("vpn/definition.yaml"));
    let checked = check(vpn, json!({}), json!([{"role": "site", "device": "d"}]), "sim").unwrap();
    let faults = vpn.claims(&checked, &Pools::default(), Some(&region())).unwrap_err();
    assert!(faults.iter().all(|fault| fault.code == "unknown_pool"), "{faults:?}");
    let place = Place { endpoint: None, attribute: "rt".to_owned() };
    assert_eq!(faults[0].pointer, place.pointer());
}
