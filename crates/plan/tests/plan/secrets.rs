//! Secrets in definitions: found by the template, refused where they would be seen, and in no text.

use proptest::prelude::*;
use serde_json::{Value, json};
use turnup_core::{message::DeviceEdit, order::OrderKind, secret::MASK};
use turnup_plan::{Draft, ModuleText, Present, Yang, masked, masked_footprint};

use super::*;
use crate::folder::Folder;

fn footprint(attributes: Value) -> Footprint {
    let definition = definition(shipped(), "user");
    let endpoints = json!([{"role": "device", "device": "cpe7"}]);
    let checked = check(definition, attributes, endpoints, "sim").unwrap();
    let all = definition.footprints(service(), &checked.attributes, &checked.endpoints, &checked.platforms);
    all.unwrap().into_values().next().unwrap()
}

fn user(password: &str) -> Footprint {
    footprint(json!({"name": "noc", "password": password, "public_key": "k1k1"}))
}

/// Everything of a change that is shown.
fn shown(change: &Change) -> Option<(DeviceEdit, String)> {
    let edit = change.edit(order(), &|_| false)?;
    let DeviceEdit { edit: forward, inverse, nodes, .. } = &edit.edit;
    let text = format!("{}\n{}\n{}", edit.text, masked(forward, nodes), masked(inverse, nodes));
    Some((edit.edit, text))
}

#[test]
fn nodes_that_come_from_a_secret_are_secret() {
    for password in ["correct horse", "$6$salt$hash", "x", "$0$", "1234"] {
        let footprint = user(password);
        assert!(footprint.nodes().is_secret("users/user/password"), "{password}");
        assert!(!footprint.nodes().is_secret("users/user/name"), "{password}");
        assert!(
            footprint.nodes().is_opaque("users/user/public-key") && footprint.config().contains(password)
        );
        assert!(footprint.shown_config().contains("<password>(secret)</password>"));
        let stored = serde_json::to_value(&footprint).unwrap();
        let read: Footprint = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(read, footprint, "it stays secret when it is stored");
        assert!(masked_footprint(&stored)["config"].as_str().unwrap().contains(MASK));
    }
}

#[test]
fn another_password_is_a_change_and_the_same_is_none() {
    let change = |old, new| Change { old: Some(user(old)), new: Some(user(new)), ..Change::default() };
    let (edit, text) = shown(&change("winter", "summer")).unwrap();
    assert!(text.contains("~     password: (secret, changed)"), "{text}");
    assert!(edit.edit.contains("$0$summer") && edit.inverse.contains("$0$winter"), "{edit:?}");
    assert!(edit.nodes.is_secret("users/user/password"));
    assert_eq!(shown(&change("winter", "winter")), None);
    assert!(shown(&change("01", "1")).is_some(), "only the very same text is the same");
    let again = Change { whole: true, ..change("winter", "winter") };
    assert!(shown(&again).unwrap().1.contains("=     password: (secret)"));
}

#[test]
fn hash_of_a_plan_tells_no_password() {
    let plan = |password: &str, key: &str| {
        let new = footprint(json!({"name": "noc", "password": password, "public_key": key}));
        let present = BTreeMap::from([(
            "cpe7".parse().unwrap(),
            Present { footprint: Some(user("old")), ..Present::default() },
        )]);
        let wanted = BTreeMap::from([("cpe7".parse().unwrap(), new)]);
        let draft = Draft::new(OrderKind::Modify, order(), service(), present, wanted);
        draft.finish(&[], &[]).unwrap().hash()
    };
    assert_eq!(plan("winter", "AAAA"), plan("summer", "AAAA"));
    assert_ne!(plan("winter", "AAAA"), plan("winter", "AAAB"));
}

/// A definition whose template and attributes are given.
fn mistakes(attributes: &str, platform: &str, template: &str, example: &str) -> Vec<String> {
    let definition = format!(
        "name: keys\nversion: 1\ntitle: t\nattributes:\n  properties:\n{attributes}endpoints:\n  device: {{}}\n\
         platforms:\n  box:\n    template: box.xml.j2\n    keys: {{user: [name], tag: ['.']}}\n    owns: [users/user]\n\
         {platform}example:\n  attributes: {example}\n  endpoints: [{{role: device, device: d1}}]\n"
    );
    let folder = Folder::with(&[("keys/definition.yaml", &definition), ("keys/box.xml.j2", template)]);
    folder.load().err().map(|_| folder.mistakes()).unwrap_or_default()
}

const ATTRIBUTES: &str = "    name: {type: string}\n    pw: {type: string, writeOnly: true}\n";
const TEMPLATE: &str = "<users xmlns=\"urn:box\"><user><name>{{ attributes.name }}</name>\
                        <secret>{{ attributes.pw }}</secret></user></users>";
const EXAMPLE: &str = "{name: a, pw: b}";

#[test]
fn secret_key_is_refused() {
    assert_eq!(mistakes(ATTRIBUTES, "", TEMPLATE, EXAMPLE), Vec::<String>::new());
    let by_secret = TEMPLATE.replace("attributes.name", "attributes.pw");
    let found = mistakes(ATTRIBUTES, "", &by_secret, EXAMPLE);
    assert!(
        found.len() == 1 && found[0].contains("the key \"name\" of users/user comes from a secret"),
        "{found:?}"
    );
    let tag = TEMPLATE.replace("<secret>", "<tag>").replace("</secret>", "</tag>");
    let found = mistakes(ATTRIBUTES, "", &tag, EXAMPLE);
    assert!(found.len() == 1 && found[0].contains("the key \".\" of users/user/tag"), "{found:?}");
}

#[test]
fn paths_that_name_nothing_are_mistakes() {
    for (platform, wanted) in [
        ("    secret: [users/user/secret]\n    opaque: [users/user/name]\n", None),
        ("    secret: [users/user]\n", None),
        ("    secret: [users/user/secert]\n", Some("did you mean \"secret\"?")),
        ("    write_only: [usres/user/secret]\n", Some("inside of nothing that 'owns' or 'shares' names")),
        ("    secret: [users/user/name]\n", Some("is a key, and keys are shown")),
        ("    opaque: [\"b:users/b:user\"]\n", Some("is no path")),
    ] {
        let found = mistakes(ATTRIBUTES, platform, TEMPLATE, EXAMPLE);
        // What is secret with all in it makes its key secret, which the example shows.
        let found: Vec<&String> = found.iter().filter(|text| !text.contains("comes from a secret")).collect();
        match wanted {
            None => assert!(found.is_empty(), "{platform}: {found:?}"),
            Some(wanted) => assert!(found.len() == 1 && found[0].contains(wanted), "{platform}: {found:?}"),
        }
    }
}

#[test]
fn failures_of_the_template_quote_no_secret() {
    let definition = definition(shipped(), "user");
    let given = json!([{"role": "device", "device": "cpe7"}]);
    let checked =
        check(definition, json!({"name": "noc", "password": "top-secret\u{1}"}), given, "sim").unwrap();
    let redactor = definition.redactor(&checked.attributes, &checked.endpoints);
    let error = definition
        .footprints(service(), &checked.attributes, &checked.endpoints, &checked.platforms)
        .unwrap_err()
        .to_string();
    assert!(!redactor.text(&error).contains("top-secret"), "{error}");
    assert_eq!(redactor.text("a top-secret\u{1} word"), "a (secret) word");
}

#[test]
fn leaf_of_type_crypt_hash_is_secret_by_itself() {
    let text = ModuleText {
        name: "turnup-sim".to_owned(),
        revision: None,
        text: include_str!("../../../device-sim/yang/turnup-sim.yang").to_owned(),
    };
    let yang = Yang::from_texts(vec![text]).unwrap();
    let folder = Folder::with(&[
        (
            "open/definition.yaml",
            "name: open\nversion: 1\ntitle: t\nattributes:\n  properties: {pw: {type: string}}\n\
             endpoints:\n  device: {}\nplatforms:\n  sim: {template: sim.xml.j2, owns: [users/user]}\n",
        ),
        (
            "open/sim.xml.j2",
            "<users xmlns=\"urn:turnup:sim\"><user><name>a</name><password>{{ attributes.pw }}</password>\
             <description>d</description></user></users>",
        ),
    ]);
    let catalogue = folder.load().unwrap();
    let definition = definition(&catalogue, "open");
    let given = json!([{"role": "device", "device": "cpe7"}]);
    let checked = check(definition, json!({"pw": "$0$open"}), given, "sim").unwrap();
    let all = definition
        .footprints_with(service(), &checked.attributes, &checked.endpoints, &checked.platforms, &|_| {
            Some(yang.clone())
        })
        .unwrap();
    let footprint = all.values().next().unwrap();
    assert!(footprint.nodes().is_secret("users/user/password"), "{:?}", footprint.nodes());
    assert!(!footprint.nodes().is_secret("users/user/description"));
    // Also where the service does not write it.
    let inside = footprint.nodes_for_audit(Some(&yang));
    assert!(inside.is_secret("users/user/password"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a password is made of, it is sent, and in nothing that is shown.
    #[test]
    fn no_password_is_in_what_is_shown(
        old in "[a-zA-Z0-9<>&\"'$.*+?^(){}|\\\\äß漢🙂]{1,24}",
        new in "[a-zA-Z0-9<>&\"'$.*+?^(){}|\\\\äß漢🙂]{1,24}",
    ) {
        let (before, after) = (user(&old), user(&new));
        prop_assert!(before.nodes().is_secret("users/user/password"));
        let texts = [
            shown(&Change { new: Some(after.clone()), ..Change::default() }).unwrap().1,
            shown(&Change { old: Some(before.clone()), ..Change::default() }).unwrap().1,
            shown(&Change { old: Some(before.clone()), new: Some(after.clone()), ..Change::default() })
                .map(|(_, text)| text).unwrap_or_default(),
            after.shown_config(),
        ];
        // Without the password the same is shown.
        let same = user("another");
        let (edit, other) = shown(&Change { new: Some(same), ..Change::default() }).unwrap();
        prop_assert!(edit.edit.contains("another"));
        prop_assert_eq!(&texts[0], &other);
        for text in texts {
            for secret in [&old, &new].into_iter().filter(|secret| secret.chars().count() > 8) {
                prop_assert!(!text.contains(secret.as_str()), "{} in {}", secret, text);
            }
        }
    }
}
