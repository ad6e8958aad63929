//! Functional checks: how they are rendered, and what is wrong with them.

use std::time::Duration;

use serde_json::{Value, json};
use turnup_core::audit::{Check, CheckAsk, Test};
use turnup_plan::{BeforeConfirm, PlanError};

use crate::{check, definition, folder::Folder, service};

const YAML: &str = "name: any
version: 1
title: Any
attributes: {properties: {name: {type: string}, least: {default: 3}}, required: [name]}
endpoints: {device: {}}
platforms:
  sim: {template: sim.xml.j2, owns: [a/b], audit: sim.audit.yaml}
audit: {every: 15m}
example:
  attributes: {name: x}
  endpoints: [{role: device, device: d1}]
";
const TEMPLATE: &str = "<a xmlns='urn:x'><b>{{ attributes.name }}</b></a>";

fn folder(checks: &str) -> Folder {
    Folder::with(&[
        ("any/definition.yaml", YAML),
        ("any/sim.xml.j2", TEMPLATE),
        ("any/sim.audit.yaml", checks),
    ])
}

fn rendered(checks: &str, attributes: Value) -> Result<Vec<Check>, PlanError> {
    let catalogue = folder(checks).load().unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let any = definition(&catalogue, "any");
    let checked = check(any, attributes, json!([{"role": "device", "device": "d1"}]), "sim").unwrap();
    any.checks(service(), &checked.attributes, &checked.endpoints, &checked.platforms, &"d1".parse().unwrap())
}

const CHECKS: &str = r#"checks:
  - name: state
    get: |
      <a xmlns="urn:x">
        <b><name>{{ attributes.name }}</name><state/></b>
      </a>
    conditions:
      - {path: "/a/b[name='{{ attributes.name }}']/state", is: up}
      - {path: /a/b, exists: true}
      - {path: "/a/b/error", absent: true}
      - path: /a/b/name
        matches: "{{ attributes.name }}|other-.+"
      - {path: /a/b/count, at_least: "{{ attributes.least }}"}
      - {path: /a/b/count, at_most: 9.5}
      - {path: /a/b/up, is_not: false}
  - name: ping
    rpc: <ping xmlns="urn:x"><to>{{ device }}</to></ping>
    conditions:
      - {path: /received, at_least: 1}
"#;

#[test]
fn checks_are_rendered_for_a_service() {
    let checks = rendered(CHECKS, json!({"name": "it's <b>.*"})).unwrap();
    let [state, ping] = checks.as_slice() else { panic!("{checks:?}") };
    assert_eq!(
        state.ask,
        CheckAsk::Get("<a xmlns=\"urn:x\"><b><name>it's &lt;b&gt;.*</name><state/></b></a>".to_owned())
    );
    let conditions: Vec<_> = state
        .conditions
        .iter()
        .map(|condition| (condition.path.as_str(), condition.test, condition.value.as_str()))
        .collect();
    assert_eq!(
        conditions,
        [
            ("/a/b[name=\"it's <b>.*\"]/state", Test::Is, "up"),
            ("/a/b", Test::Exists, ""),
            ("/a/b/error", Test::Absent, ""),
            ("/a/b/name", Test::Matches, "it's <b>\\.\\*|other-.+"),
            ("/a/b/count", Test::AtLeast, "3"),
            ("/a/b/count", Test::AtMost, "9.5"),
            ("/a/b/up", Test::IsNot, "false"),
        ]
    );
    assert_eq!(ping.ask, CheckAsk::Rpc("<ping xmlns=\"urn:x\"><to>d1</to></ping>".to_owned()));
}

#[test]
fn a_definition_says_how_often() {
    let catalogue = folder(CHECKS).load().unwrap();
    assert_eq!(definition(&catalogue, "any").audit_every(), Some(Duration::from_secs(900)));
    for (every, good) in [("60s", true), ("366d", true), ("59s", false), ("367d", false), ("often", false)] {
        let yaml = YAML.replace("15m", every);
        let folder = Folder::with(&[
            ("any/definition.yaml", &yaml),
            ("any/sim.xml.j2", TEMPLATE),
            ("any/sim.audit.yaml", CHECKS),
        ]);
        match good {
            true => assert!(folder.load().is_ok(), "{every}"),
            false => {
                let mistakes = folder.mistakes();
                assert_eq!(mistakes.len(), 1, "{mistakes:?}");
                let expected =
                    format!("any/definition.yaml:8: 'every' is \"{every}\", which is no such time");
                assert!(mistakes[0].starts_with(&expected), "{mistakes:?}");
            }
        }
    }
}

/// Whatever the order says, a check that can't be asked as it is meant isn't asked.
#[test]
fn values_that_no_check_can_carry_are_refused() {
    let refused = |attributes: Value| rendered(CHECKS, attributes).unwrap_err().to_string();
    let error = refused(json!({"name": "x", "least": "many"}));
    assert!(error.contains("line 13: at_least compares with a number, \"many\" is none"), "{error}");
    for name in ["\u{fffe}", "\u{ffff}", "\u{1}"] {
        let error = refused(json!({ "name": name }));
        assert!(error.contains("which XML can't carry"), "{error}");
    }
    let error = refused(json!({"name": "x".repeat(20_000)}));
    assert!(error.contains("line 4: the output is larger than 16384 bytes"), "{error}");
}

#[test]
fn unknown_devices_have_no_checks() {
    let catalogue = folder(CHECKS).load().unwrap();
    let any = definition(&catalogue, "any");
    let checked =
        check(any, json!({"name": "x"}), json!([{"role": "device", "device": "d1"}]), "sim").unwrap();
    let (attributes, endpoints) = (&checked.attributes, &checked.endpoints);
    let other = any.checks(service(), attributes, endpoints, &checked.platforms, &"d2".parse().unwrap());
    assert!(matches!(other, Err(PlanError::NoPlatform { .. })), "{other:?}");
}

#[test]
fn definition_says_that_checks_decide_about_the_confirm() {
    let read = |audit: &str, platform: &str| {
        let yaml = YAML.replace("audit: {every: 15m}", audit).replace("audit: sim.audit.yaml", platform);
        Folder::with(&[
            ("any/definition.yaml", &yaml),
            ("any/sim.xml.j2", TEMPLATE),
            ("any/sim.audit.yaml", CHECKS),
        ])
    };
    let own = "audit: sim.audit.yaml";
    let policy = |audit: &str| definition(&read(audit, own).load().unwrap(), "any").before_confirm();
    let seconds = |settle, within| {
        Some(BeforeConfirm { settle: Duration::from_secs(settle), within: Duration::from_secs(within) })
    };
    assert_eq!(policy("audit: {every: 15m}"), None);
    assert_eq!(policy("audit: {before_confirm: true}"), seconds(0, 30));
    assert_eq!(policy("audit: {every: 1h, before_confirm: true, within: 1m, settle: 5s}"), seconds(5, 60));
    assert_eq!(policy("audit: {every: 1h, before_confirm: false}"), None);
    for (audit, expected) in [
        ("audit: {every: 1h, within: 9s}", "'within' needs 'before_confirm: true' beside it"),
        ("audit: {before_confirm: true, within: 6m}", "'within' is \"6m\", which is no such time"),
        ("audit: {}", "'audit' says nothing"),
    ] {
        let mistakes = read(audit, own).mistakes();
        assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{audit}: {mistakes:?}");
    }
}

#[test]
fn every_mistake_has_its_line() {
    let bad = "checks:
  - name: one
    get: |
      <a xmlns='urn:x'>
        <b>{{ attributes.nme }}</b>
      </a>
    rcp: x
    conditions:
      - {path: a/b, is: up}
      - {path: /a/b, is: up, is_not: down}
      - {path: /a/b, equals: up}
      - {is: up}
      - {path: /a/b, exists: yes}
      - {path: /a/b, at_least: many}
      - {path: /a/b, matches: '('}
      - {path: \"/a/b[k='{{ attributes.nam }}']\", is: up}
      - {path: '/a/b[k={{ attributes.name }', is: up}
      - {path: /a/b, is: [up]}
  - name: one
    rpc: <commit xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'/>
    get: <a/>
    conditions: []
  - {name: two, get: <a/>, conditions: [{path: /a, exists: true}]}
  - {name: three, rpc: <commit xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'/>, conditions: [{path: /a, exists: true}]}
  - just a text
";
    let mistakes = folder(bad).mistakes();
    let expected = [
        "any/sim.audit.yaml:7: in a check there is no key \"rcp\"; known are name, get, rpc, conditions",
        "any/sim.audit.yaml:9: \"a/b\" is no path: it must begin with '/'",
        "any/sim.audit.yaml:10: a condition has one of exists, absent, is, is_not, at_least, at_most, matches",
        "any/sim.audit.yaml:11: a condition has one of",
        "any/sim.audit.yaml:11: in a condition there is no key \"equals\"",
        "any/sim.audit.yaml:12: the key \"path\" is missing",
        "any/sim.audit.yaml:13: write exists: true, or the opposite condition",
        "any/sim.audit.yaml:14: at_least compares with a number, \"many\" is none",
        "any/sim.audit.yaml:15: \"(\" is no regular expression",
        "any/sim.audit.yaml:17: unexpected `}`, expected end of variable block",
        "any/sim.audit.yaml:18: is needs a value, this is a list",
        "any/sim.audit.yaml:19: a check has either 'get', with what to read, or 'rpc', with the operation",
        "any/sim.audit.yaml:22: 'conditions' must be a list of 1 to 32 entries",
        "any/sim.audit.yaml:23: <a> has no namespace",
        "any/sim.audit.yaml:24: <commit> is an operation of NETCONF itself",
        "any/sim.audit.yaml:25: a check must be a map, this is a text",
    ];
    for expected in expected {
        assert!(
            mistakes.iter().any(|mistake| mistake.starts_with(expected)),
            "{expected}\nis not among\n{}",
            mistakes.join("\n")
        );
    }
    assert_eq!(mistakes.len(), expected.len(), "{}", mistakes.join("\n"));

    let bad = "checks:
  - name: one
    get: |
      <a xmlns='urn:x'>
        <b>{{ attributes.nme }}</b>
      </a>
    conditions:
      - {path: \"/a/b[k='{{ attributes.nam }}']\", is: '{{ servis.id }}'}
  - name: one
    get: >-
      <a xmlns='urn:x'/>
    conditions: [{path: /a, exists: true}]
";
    assert_eq!(
        folder(bad).mistakes(),
        [
            "any/sim.audit.yaml:5: there is no attribute \"nme\"; did you mean \"name\"?",
            "any/sim.audit.yaml:8: there is no attribute \"nam\"; did you mean \"name\"?",
            "any/sim.audit.yaml:8: there is no variable \"servis\"; did you mean \"service\"?",
            "any/sim.audit.yaml:9: there are two checks with the name \"one\"",
        ]
    );
}

#[test]
fn the_example_renders_the_checks() {
    let one = |get: &str, path: &str| {
        let checks = format!(
            "checks:\n  - name: one\n    get: |\n      {get}\n    conditions:\n      - {{path: {path}, exists: true}}\n"
        );
        let mistakes = folder(&checks).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes.into_iter().next().unwrap()
    };
    let mistake = one("<a xmlns='urn:x'>{{ attributes.name }}</b>", "/a");
    assert!(mistake.starts_with("any/sim.audit.yaml:4: the example on sim: malformed"), "{mistake}");
    let mistake = one("<a>{{ attributes.name }}</a>", "/a");
    assert!(mistake.contains("<a> has no namespace"), "{mistake}");
    let mistake = one("<a xmlns='urn:x'/>", "\"/a/{{ attributes.name }}\"");
    assert!(mistake.starts_with("any/sim.audit.yaml:6: the example on sim: a value stands in a path only"));
    let mistake = one(
        "<a xmlns='urn:x'>{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}</a>",
        "/a",
    );
    assert!(mistake.contains("does too much work"), "{mistake}");
    let mistake = one("{% include 'definition.yaml' %}<a xmlns='urn:x'/>", "/a");
    assert!(mistake.starts_with("any/sim.audit.yaml:4: unknown statement"), "{mistake}");
}

#[test]
fn broken_files_of_checks() {
    assert!(folder("checks: [\n").mistakes()[0].starts_with("any/sim.audit.yaml:"));
    assert_eq!(
        folder("[]\n").mistakes(),
        ["any/sim.audit.yaml:1: a file of checks must be a map, this is a list"]
    );
    assert_eq!(folder("{}\n").mistakes(), ["any/sim.audit.yaml:1: the key \"checks\" is missing"]);
    assert_eq!(folder("chekcs: []\n").mistakes().len(), 2);
    assert!(folder("checks: []\n").mistakes()[0].contains("a list of 1 to 32 entries"));
    let missing = Folder::with(&[("any/definition.yaml", YAML), ("any/sim.xml.j2", TEMPLATE)]);
    assert_eq!(
        missing.mistakes(),
        [
            "any/definition.yaml:7: the file of checks sim.audit.yaml can't be read: there is no such file in the folder"
        ]
    );
    let outside = YAML.replace("sim.audit.yaml", "../sim.audit.yaml");
    let outside = Folder::with(&[("any/definition.yaml", &outside), ("any/sim.xml.j2", TEMPLATE)]);
    assert!(outside.mistakes()[0].contains("in the definition's own folder"));
}
