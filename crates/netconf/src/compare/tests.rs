use std::collections::HashMap;

use super::*;
use crate::model::NoModel;
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
    assert!(contains(&holder(data), &holder("<e><n>1</n></e><e><n>2</n></e>"), &NoModel));
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
    let drift = |data: &Element, wanted: &Element, keys: &dyn Model, nodes: &HashSet<&str>| {
        drift(data, wanted, keys, Owned { nodes, only_set: true })
    };
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

#[track_caller]
fn check_by(model: &dyn Model, data: &str, wanted: &str, expected: &[&str]) {
    let found = differences(&holder(data), &holder(wanted), model, 10);
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn text_that_looks_like_a_prefix_is_itself() {
    let bound = |inside: &str| {
        let text = format!(
            r#"<d xmlns:nc="{}" xmlns:junos="urn:junos"><top xmlns="urn:t">{inside}</top></d>"#,
            namespace::BASE
        );
        parse_str(&text, &Limits::default()).unwrap()
    };
    let free = |inside: &str| {
        parse_str(&format!("<c><top xmlns='urn:t'>{inside}</top></c>"), &Limits::default()).unwrap()
    };
    for value in ["nc: roof link", "junos:old circuit", "nc:1", "junos:", "a nc:b"] {
        let entry =
            format!("<port><name>{value}</name><description>{value}</description></port><l>{value}</l>");
        for (a, b) in [(bound(&entry), free(&entry)), (free(&entry), bound(&entry))] {
            assert_eq!(differences(&a, &b, &keys(), 10), [], "{value}");
        }
    }
}

#[test]
fn lists_of_one_name_have_keys_by_path() {
    let keys: HashMap<String, Vec<String>> = [("port", "name"), ("top/vrf/port", "id"), ("vrf", "name")]
        .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
        .into();
    let data = "<port><name>a</name><mtu>1</mtu></port><port><name>b</name><mtu>2</mtu></port>\
                <vrf><name>v</name><port><id>1</id><name>x</name></port><port><id>2</id><name>x</name></port></vrf>";
    check_by(
        &keys,
        data,
        "<port><name>b</name><mtu>2</mtu></port><vrf><name>v</name><port><id>2</id><name>x</name></port></vrf>",
        &[],
    );
    check_by(
        &keys,
        data,
        "<vrf><name>v</name><port><id>3</id></port></vrf>",
        &["/top/vrf[name='v']/port[id='3'] is missing"],
    );
}

#[test]
fn spellings_are_recognised_only_where_nothing_is_written_the_same() {
    check(
        "<port><name>2001:db8::1</name><mtu>1500</mtu></port>",
        "<port><name>2001:DB8:0::1</name><mtu>01500</mtu></port>",
        &[],
    );
    // Two entries whose names look like one number.
    let both = "<port><name>01</name><mtu>7</mtu></port><port><name>1</name><mtu>8</mtu></port>";
    check(both, both, &[]);
    check(
        both,
        "<port><name>1</name><mtu>7</mtu></port>",
        &["/top/port[name='1']/mtu is \"8\" instead of \"7\""],
    );
    // What is wanted by itself stands for nothing else.
    let one = "<port><name>1</name></port>";
    check(
        one,
        "<port><name>1</name></port><port><name>01</name></port>",
        &["/top/port[name='01'] is missing"],
    );
    check(one, r#"<port nc:operation="remove"><name>01</name></port>"#, &[]);
    check("<l>1</l>", "<l>01</l><l>1</l>", &["/top/l is missing"]);
    let written = |data: &str, wanted: &str| contains_as_written(&holder(data), &holder(wanted), &keys());
    assert!(!written("<mtu>01500</mtu>", "<mtu>1500</mtu>") && written("<mtu>1500</mtu>", "<mtu>1500</mtu>"));
}

/// What is known of `/top`: it has only one spelling of names, and its rules and tags are in order.
struct Known;

impl Model for Known {
    fn list_keys(&self, path: &str) -> Option<&[String]> {
        static NAME: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec!["name".to_owned()]);
        static SELF: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec![".".to_owned()]);
        match path {
            "top/rule" | "top/port" => Some(&NAME),
            "top/tag" => Some(&SELF),
            _ => None,
        }
    }
    fn kinds(&self, path: &str) -> Kinds {
        match path {
            "top/port/mtu" => spelling::Kind::Integer.into(),
            "top/port/type" => spelling::Kind::Identity.into(),
            _ => spelling::Kind::Exact.into(),
        }
    }
    fn is_ordered(&self, path: &str) -> bool {
        matches!(path, "top/rule" | "top/tag")
    }
    fn default_value(&self, path: &str) -> Option<&str> {
        (path == "top/port/mtu").then_some("1500")
    }
    fn counts_empty(&self, path: &str) -> Option<bool> {
        Some(!path.ends_with("box"))
    }
}

#[test]
fn a_known_kind_decides() {
    let port = |name: &str, inside: &str| format!("<port><name>{name}</name>{inside}</port>");
    let wanted = port("1", "<mtu>9000</mtu>");
    check_by(&Known, &port("1", "<mtu>+09000</mtu>"), &wanted, &[]);
    check_by(&Known, &port("01", "<mtu>9000</mtu>"), &wanted, &["/top/port[name='1'] is missing"]);
    let typed = |namespace: &str| port("1", &format!(r#"<type xmlns:p="{namespace}">p:eth</type>"#));
    check_by(&Known, &typed("urn:a"), &typed("urn:a"), &[]);
    check_by(
        &Known,
        &typed("urn:a"),
        &typed("urn:b"),
        &["/top/port[name='1']/type is \"p:eth\" instead of \"p:eth\""],
    );
    check_by(&Known, &port("1", "<type>eth</type>"), &typed("urn:a"), &[]);
}

#[test]
fn defaults_and_containers_without_content_may_be_absent() {
    let port = |inside: &str| format!("<port><name>1</name>{inside}</port>");
    check_by(
        &Known,
        &port(""),
        &port("<mtu>1500</mtu><box/><box2><box/></box2>"),
        &["/top/port[name='1']/box2 is missing"],
    );
    check_by(&Known, &port(""), &port("<mtu>1501</mtu>"), &["/top/port[name='1']/mtu is missing"]);
    check_by(&Known, &port(""), &port("<box><on/></box>"), &["/top/port[name='1']/box/on is missing"]);
    check(&port(""), &port("<shutdown/>"), &["/top/port[name='1']/shutdown is missing"]);
}

#[test]
fn the_order_of_ordered_entries_is_part_of_the_configuration() {
    let rules = |names: &[&str]| -> String {
        names.iter().map(|name| format!("<rule><name>{name}</name></rule>")).collect()
    };
    check_by(&Known, &rules(&["a", "x", "b"]), &rules(&["a", "b"]), &[]);
    check_by(
        &Known,
        &rules(&["b", "x", "a"]),
        &rules(&["a", "b"]),
        &["the order of /top/rule differs: b, a instead of a, b"],
    );
    check_by(
        &Known,
        "<tag>2</tag><tag>1</tag>",
        "<tag>1</tag><tag>2</tag>",
        &["the order of /top/tag differs: 2, 1 instead of 1, 2"],
    );
    check(&rules(&["b", "a"]), &rules(&["a", "b"]), &[]);
}

#[test]
fn what_is_not_in_force_is_not_as_wanted() {
    let wanted = "<port><name>1</name><unit><id>2</id></unit></port>";
    let data = wanted.replace("<port>", r#"<port inactive="inactive">"#);
    check(&data, wanted, &["/top/port[name='1'] is deactivated (inactive=\"inactive\")"]);
    // Two readings of one device say the same.
    check(&data, &data, &[]);
    let data = wanted.replace("<id>", r#"<id nc:operation="delete">"#);
    check(&data, wanted, &["/top/port[name='1']/unit/id is marked operation=\"delete\""]);
    check(&wanted.replace("<port>", r#"<port inactive="false" note="x">"#), wanted, &[]);
}

#[test]
fn extras_that_nobody_set_are_none() {
    let tagged = r#"xmlns:wd="urn:ietf:params:xml:ns:netconf:default:1.0" wd:default="true""#;
    let data = holder(&format!(
        "<port><name>a</name><speed {tagged}>1</speed><ipv4 xmlns='urn:ip'/><c><d {tagged}>2</d><e/></c><off/><mtu \
         {tagged}>1500</mtu></port>"
    ));
    let wanted = holder("<port><name>a</name><mtu>1500</mtu></port>");
    let nodes = HashSet::from(["/top/port[name='a']"]);
    let found = |data: &Element, only_set| {
        let found = drift(data, &wanted, &keys(), Owned { nodes: &nodes, only_set });
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found(&data, false), [""; 0]);
    assert_eq!(found(&data, true), ["/top/port[name='a']/c is extra", "/top/port[name='a']/off is extra"]);
    let text = data.to_xml().replace("urn:t", "http://xml.juniper.net/xnm/1.1/xnm");
    let junos = parse_str(&text, &Limits::default()).unwrap();
    let text = wanted.to_xml().replace("urn:t", "http://xml.juniper.net/xnm/1.1/xnm");
    let wanted = parse_str(&text, &Limits::default()).unwrap();
    let found = drift(&junos, &wanted, &keys(), Owned { nodes: &nodes, only_set: false });
    assert!(found.iter().any(|found| found.to_string() == "/top/port[name='a']/off is extra"), "{found:?}");
}

proptest::proptest! {
    #[test]
    fn comparison_is_reflexive(
        entries in proptest::collection::vec(("[a-z0-9:. ]{0,6}", "[ -~]{0,8}", proptest::bool::ANY), 0..6),
        prefix in "[a-z]{1,3}",
    ) {
        let mut inside = Element::new("urn:t", "top");
        for (at, (name, value, inactive)) in entries.iter().enumerate() {
            let mut entry = Element::new("urn:t", ["port", "rule", "tag", "other"][at % 4])
                .with_leaf("name", name.as_str())
                .with_leaf("type", value.as_str())
                .with_leaf("mtu", value.as_str());
            if *inactive {
                entry.set_attribute_ns("", "inactive", "inactive");
            }
            inside.push(entry);
        }
        let text = Element::new("", "d").with_child(inside).to_xml();
        let text = text.replacen("<d>", &format!("<d xmlns:{prefix}='urn:p'>"), 1);
        if let Ok(tree) = parse_str(&text, &Limits::default()) {
            proptest::prop_assert_eq!(differences(&tree, &tree, &keys(), 3), []);
            proptest::prop_assert_eq!(differences(&tree, &tree, &Known, 3), []);
            proptest::prop_assert_eq!(differences(&tree, &tree, &NoModel, 3), []);
        }
    }
}

/// `p` is secret, `w` write-only, `o` opaque, wherever they are.
struct Disclosed;

impl Model for Disclosed {
    fn list_keys(&self, path: &str) -> Option<&[String]> {
        static KEYS: std::sync::LazyLock<HashMap<String, Vec<String>>> = std::sync::LazyLock::new(keys);
        KEYS.list_keys(path)
    }

    fn is_ordered(&self, path: &str) -> bool {
        path.ends_with('p')
    }

    fn disclosure(&self, path: &str) -> Disclosure {
        match path.rsplit('/').next() {
            Some("p") => Disclosure::Secret,
            Some("w") => Disclosure::WriteOnly,
            Some("o") => Disclosure::Opaque,
            _ => Disclosure::Plain,
        }
    }
}

#[test]
fn value_that_a_device_writes_anew_is_there_with_any_text() {
    for (data, wanted, expected) in [
        ("<a><p>$9$xyz</p></a>", "<a><p>s3cr3t</p></a>", &[][..]),
        ("<a><p>****</p></a>", "<a><p>$0$s3cr3t</p></a>", &[]),
        ("<a><p/></a>", "<a><p>s3cr3t</p></a>", &[]),
        ("<a><o>ROOF</o></a>", "<a><o>roof</o></a>", &[]),
        ("<a><w>x</w></a>", "<a><w>s3cr3t</w></a>", &[]),
        ("<a><d>1</d></a>", "<a><d>1</d><w>s3cr3t</w></a>", &[]),
        ("<a><d>1</d></a>", "<a><d>1</d><p>s3cr3t</p></a>", &["/top/a/p is missing"]),
        ("<a><d>1</d></a>", "<a><d>1</d><o>roof</o></a>", &["/top/a/o is missing"]),
        (
            "<a><p>$0$other</p></a>",
            "<a><p>$0$s3cr3t</p></a>",
            &["/top/a/p has another value than is wanted (both are secret)"],
        ),
    ] {
        let found = differences(&holder(data), &holder(wanted), &Disclosed, 9);
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected, "{data} {wanted}");
        assert!(!format!("{found:?}").contains("s3cr3t"), "{found:?}");
    }
}

#[test]
fn readings_of_one_server_are_the_same_only_by_their_texts() {
    let same = |a: &str, b: &str| contains_reading(&holder(a), &holder(b), &Disclosed);
    assert!(same("<a><p>$9$x</p></a>", "<a><p>$9$x</p></a>"));
    assert!(!same("<a><p>$9$x</p></a>", "<a><p>$9$y</p></a>"));
    assert!(!same("<a><o>x</o></a>", "<a><o>y</o></a>"));
    assert!(!same("<a><d>1</d></a>", "<a><d>1</d><w>x</w></a>"));
}

#[test]
fn no_secret_is_in_what_is_extra_or_in_another_order() {
    let nodes = HashSet::from(["/top/a"]);
    let owned = Owned { nodes: &nodes, only_set: true };
    let found = drift(&holder("<a><d>1</d><p>s3cr3t</p></a>"), &holder("<a><d>1</d></a>"), &Disclosed, owned);
    assert_eq!(found[0].kind, DifferenceKind::Extra { found: None });
    let (data, wanted) = ("<a><p>s3cr3t</p><p>other</p></a>", "<a><p>other</p><p>s3cr3t</p></a>");
    let found = drift(&holder(data), &holder(wanted), &Disclosed, owned);
    assert!(!format!("{found:?}").contains("s3cr3t"), "{found:?}");
}
