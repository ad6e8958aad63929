use std::collections::HashMap;

use super::*;
use crate::keys::NoKeys;
use crate::xml::{Limits, parse_str};

fn holder(inner: &str) -> Element {
    let text = format!(r#"<holder xmlns:nc="{}"><top xmlns="urn:t">{inner}</top></holder>"#, namespace::BASE);
    parse_str(&text, &Limits::default()).unwrap()
}

fn keys() -> HashMap<String, Vec<String>> {
    let list =
        |name: &str, keys: &[&str]| (name.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect());
    [list("port", &["name"]), list("route", &["to", "via"]), list("identity", &["kind"])].into()
}

#[track_caller]
fn check(data: &str, wanted: &str, expected: &[&str]) {
    let (data, wanted) = (holder(data), holder(wanted));
    let found: Vec<String> =
        differences(&data, &wanted, &keys(), 10).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
    assert_eq!(contains(&data, &wanted, &keys()), expected.is_empty());
}

#[test]
fn more_than_wanted_is_fine_and_order_does_not_matter() {
    check(
        "<port><name>b</name><mtu>9000</mtu></port><port><mtu> 1500 </mtu><name>a</name><up/></port><x>1</x>",
        "<port><name>a</name><mtu>1500</mtu></port><port><name>b</name></port>",
        &[],
    );
}

#[test]
fn names_what_is_missing_and_what_differs() {
    check(
        "<port><name>a</name><mtu>1500</mtu></port><port><name>b</name></port>",
        "<port><name>a</name><mtu>9000</mtu></port><port><name>b</name><mtu>9000</mtu></port><port><name>c</name></port><y/>",
        &[
            "/top/port[name='a']/mtu is \"1500\" instead of \"9000\"",
            "/top/port[name='b']/mtu is missing",
            "/top/port[name='c'] is missing",
            "/top/y is missing",
        ],
    );
}

#[test]
fn entries_have_several_keys() {
    check(
        "<route><to>1</to><via>x</via><cost>1</cost></route><route><to>1</to><via>y</via><cost>2</cost></route>",
        "<route><to>1</to><via>y</via><cost>1</cost></route>",
        &["/top/route[to='1'][via='y']/cost is \"2\" instead of \"1\""],
    );
}

#[test]
fn values_and_keys_compare_by_meaning() {
    check(
        r#"<type xmlns:p="urn:i">p:eth</type><identity xmlns:p="urn:i"><kind>p:x</kind><v>1</v></identity>"#,
        r#"<type xmlns:q="urn:i">q:eth</type><identity xmlns:q="urn:i"><kind>q:x</kind><v>1</v></identity>"#,
        &[],
    );
    check(
        r#"<type>eth</type><identity><kind>x</kind><v>1</v></identity>"#,
        r#"<type xmlns:q="urn:i">q:eth</type><identity xmlns:q="urn:i"><kind>q:x</kind><v>1</v></identity>"#,
        &[],
    );
}

#[test]
fn leaf_lists_and_unknown_lists_compare_by_content() {
    check("<l>1</l><l>2</l><l>3</l>", "<l>3</l><l>1</l>", &[]);
    check("<l>1</l><l>2</l>", "<l>3</l><l>1</l>", &["/top/l is missing"]);
    let data = "<e><n>1</n><v>x</v></e><e><n>2</n><v>y</v></e>";
    check(data, "<e><n>2</n><v>y</v></e>", &[]);
    check(data, "<e><n>2</n><v>x</v></e>", &["/top/e is missing"]);
    assert!(contains(&holder(data), &holder("<e><n>1</n></e><e><n>2</n></e>"), &NoKeys));
    // With a single counterpart the difference can be named more closely.
    check("<e><n>1</n><v>x</v></e>", "<e><n>1</n><v>y</v></e>", &["/top/e/v is \"x\" instead of \"y\""]);
}

#[test]
fn what_is_removed_must_be_gone() {
    let edit = r#"<port nc:operation="remove"><name>a</name></port><port><name>b</name><mtu nc:operation="delete"/></port>"#;
    check("<port><name>b</name></port>", edit, &[]);
    check(
        "<port><name>a</name></port><port><name>b</name><mtu>1</mtu></port>",
        edit,
        &["/top/port[name='a'] is still there", "/top/port[name='b']/mtu is still there"],
    );
    check("<l>1</l>", r#"<l nc:operation="remove">2</l>"#, &[]);
    check("<l>1</l><l>2</l>", r#"<l nc:operation="remove">2</l>"#, &["/top/l is still there"]);
}

#[test]
fn a_container_in_which_things_are_only_removed_may_be_gone() {
    let edit = holder(r#"<c><port nc:operation="remove"><name>a</name></port></c>"#);
    let empty = parse_str("<data/>", &Limits::default()).unwrap();
    assert_eq!(differences(&empty, &edit, &keys(), 10), []);
    // An entry of a list isn't such a container: the edit creates it.
    let entry = holder(r#"<port><name>a</name><mtu nc:operation="remove"/></port>"#);
    assert_eq!(differences(&empty, &entry, &keys(), 10).len(), 1);
}

#[test]
fn holds_the_limit() {
    let wanted: String = (0..50).map(|n| format!("<port><name>{n}</name></port>")).collect();
    assert_eq!(differences(&holder(""), &holder(&wanted), &keys(), 3).len(), 3);
}

#[test]
fn many_entries_among_many_are_not_quadratic() {
    let list: String = (0..20_000).map(|n| format!("<port><name>{n}</name></port>")).collect();
    let limits = Limits::default();
    let tree = parse_str(&format!("<d><top xmlns='urn:t'>{list}</top></d>"), &limits).unwrap();
    assert!(contains(&tree, &tree, &keys()));
}

#[test]
fn what_is_extra_counts_inside_of_what_is_owned_only() {
    let data = holder(
        "<port><name>a</name><mtu>1500</mtu><unit><id>1</id><vlan>7</vlan><note>x</note><tag>1</tag><tag>3</tag>\
         <qos><rate>5</rate></qos></unit><unit><id>2</id></unit></port><x>1</x>",
    );
    let wanted = holder(
        "<port><name>a</name><unit><id>1</id><vlan>8</vlan><mtu>9000</mtu><tag>1</tag><tag>2</tag></unit></port>",
    );
    let mut keys = keys();
    keys.insert("unit".to_owned(), vec!["id".to_owned()]);
    keys.insert("tag".to_owned(), vec![".".to_owned()]);
    let owned = HashSet::from(["/top/port[name='a']/unit[id='1']"]);
    let found = drift(&data, &wanted, &keys, &owned);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    let unit = "/top/port[name='a']/unit[id='1']";
    assert_eq!(
        texts,
        [
            format!("{unit}/vlan is \"7\" instead of \"8\""),
            format!("{unit}/mtu is missing"),
            format!("{unit}/tag[.='2'] is missing"),
            format!("{unit}/note is extra"),
            format!("{unit}/tag[.='3'] is extra"),
            format!("{unit}/qos is extra"),
        ]
    );
    assert_eq!(found[1].kind, DifferenceKind::Missing { wanted: Some("9000".to_owned()) });
    assert_eq!(found[3].kind, DifferenceKind::Extra { found: Some("x".to_owned()) });
    assert_eq!(found[5].kind, DifferenceKind::Extra { found: None });
    assert_eq!(drift(&data, &data, &keys, &owned), []);
    let nothing = holder("");
    let whole = HashSet::from(["/top/x"]);
    assert_eq!(drift(&data, &nothing, &keys, &whole)[0].path, "/top/x");
    // The container says nothing, the entry does; and of an entry it is enough to say that it is missing.
    let none = parse_str("<holder/>", &Limits::default()).unwrap();
    assert_eq!(drift(&none, &wanted, &keys, &owned)[0].to_string(), "/top/port[name='a'] is missing");
    let both = HashSet::from(["/top/port[name='a']", "/top/port[name='b']"]);
    let two = holder("<port><name>a</name><mtu>1</mtu></port><port><name>b</name></port>");
    assert_eq!(drift(&none, &two, &keys, &both).len(), 2);
}

#[test]
fn values_in_paths_are_literals() {
    assert_eq!(literal("ge-0/0/1"), "'ge-0/0/1'");
    assert_eq!(literal("it's"), "\"it's\"");
    assert_eq!(literal("it's \"x\""), "concat('it',\"'\",'s \"x\"')");
    let wanted = holder("<port><name>it's</name></port>");
    assert_eq!(differences(&holder(""), &wanted, &keys(), 1)[0].path, "/top/port[name=\"it's\"]");
}
