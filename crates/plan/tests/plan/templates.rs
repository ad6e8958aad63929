//! What a template can't do.

use serde_json::{Value, json};
use turnup_plan::{BadContent, Catalogue, PlanError};

use crate::{check, definition, folder::Folder, plan, service};

const YAML: &str = "
name: any
version: 1
title: Any value
attributes: {properties: {value: {}, other: {}}}
endpoints: {device: {}}
platforms:
  sim: {template: sim.xml.j2, owns: [a/b]}
";

fn catalogue(body: &str) -> Catalogue {
    let template = format!("<a xmlns='urn:x'>\n<b>{body}</b></a>");
    let folder = Folder::with(&[("any/definition.yaml", YAML), ("any/sim.xml.j2", &template)]);
    folder.load().unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn endpoints() -> Value {
    json!([{"role": "device", "device": "d1"}])
}

fn refused(body: &str, value: Value) -> String {
    let catalogue = catalogue(body);
    let any = definition(&catalogue, "any");
    let checked = check(any, json!({"value": value}), endpoints(), "sim").unwrap();
    let error =
        any.footprints(service(), &checked.attributes, &checked.endpoints, &checked.platforms).unwrap_err();
    assert!(matches!(error, PlanError::Template { .. }), "{error}");
    error.to_string()
}

fn rendered(body: &str, value: Value) -> String {
    let catalogue = catalogue(body);
    let footprints = plan(definition(&catalogue, "any"), json!({"value": value}), endpoints(), "sim");
    footprints.values().next().unwrap().config().to_owned()
}

#[test]
fn loop_for_long() {
    let error =
        refused("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", json!(1));
    assert!(
        error.contains("any/sim.xml.j2 for device d1: line 2: the template does too much work"),
        "{error}"
    );
}

#[test]
fn write_much() {
    let error = refused(
        "{% for i in range(3000) %}0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}",
        json!(1),
    );
    assert!(error.contains("the output is larger than 262144 bytes"), "{error}");
    let error = refused("{{ attributes.value }}", json!("x".repeat(300_000)));
    assert!(error.contains("the output is larger than 262144 bytes"), "{error}");
}

#[test]
fn build_huge_values() {
    let doubled = "{% set x = x ~ x %}".repeat(40);
    let error = refused(&format!("{{% set x = 'xxxxxxxxxxxxxxxx' %}}{doubled}{{{{ x|length }}}}"), json!(1));
    assert!(error.contains("does too much work"), "{error}");
    let error = refused("{{ ('x' * 1000000000)|length }}", json!(1));
    assert!(error.contains("too large") || error.contains("too much work"), "{error}");
}

#[test]
fn use_what_is_not_there() {
    let error = refused("{{ attributes.other }}", json!(1));
    assert!(error.contains("line 2: a value is used that isn't there"), "{error}");
    let error = refused("{% if attributes.other %}x{% endif %}", json!(1));
    assert!(error.contains("test optional ones with 'is defined'"), "{error}");
    assert!(refused("{{ peers[0].device }}", json!(1)).contains("isn't there"));
    assert!(rendered("{% if attributes.other is defined %}x{% endif %}y", json!(1)).contains("<b>y</b>"));
}

#[test]
fn print_what_is_no_value() {
    assert!(refused("{{ attributes.value }}", json!(null)).contains("null"));
    assert!(refused("{{ attributes.value }}", json!([1])).contains("can't be printed"));
    assert!(refused("{{ attributes.value }}", json!({"a": 1})).contains("can't be printed"));
    assert!(refused("{{ attributes.value }}", json!("a\u{1}")).contains("U+0001"));
    assert!(refused("{{ attributes.value }}", json!("\u{ffff}")).contains("U+FFFF"));
}

#[test]
fn turn_values_into_markup() {
    let evil = json!("</b><c>&amp;\"'");
    let escaped = "<b>&lt;/b&gt;&lt;c&gt;&amp;amp;\"'</b>";
    assert!(rendered("{{ attributes.value }}", evil.clone()).contains(escaped));
    assert!(
        rendered("{% autoescape false %}{{ attributes.value }}{% endautoescape %}", evil.clone())
            .contains(escaped)
    );
    assert!(rendered("{{ [attributes.value]|join }}", evil.clone()).contains(escaped));
    assert!(refused("{{ attributes.value|safe }}", evil).contains("safe"));
}

#[test]
fn read_other_files() {
    for statement in [
        "{% include '/etc/hostname' %}",
        "{% include 'definition.yaml' %}",
        "{% extends '../x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
    ] {
        let template = format!("<a xmlns='urn:x'>\n{statement}</a>");
        let folder = Folder::with(&[("any/definition.yaml", YAML), ("any/sim.xml.j2", &template)]);
        let mistakes = folder.mistakes();
        assert!(mistakes[0].starts_with("any/sim.xml.j2:2: unknown statement"), "{mistakes:?}");
    }
}

#[test]
fn stored_footprints_are_checked_when_read() {
    let stored =
        json!({"platform": "sim", "config": "<a xmlns='urn:x'><c/></a>", "keys": {}, "owns": ["a/b"]});
    let error = serde_json::from_value::<turnup_plan::Footprint>(stored).unwrap_err();
    let expected = BadContent::NotOwned { path: "/a/c".to_owned() };
    assert_eq!(error.to_string(), expected.to_string());
}
