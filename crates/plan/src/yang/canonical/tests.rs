use std::sync::OnceLock;

use proptest::prelude::*;
use turnup_core::name::PlatformName;
use turnup_netconf::{
    model::Model as _,
    spelling::same_value,
    xml::{Limits, parse_str},
};

use super::*;
use crate::{Footprint, ModuleText, Yang, footprint::to_xml, shape::Shape};

const TYPES: &str = r#"module types {
  yang-version 1.1;
  namespace "urn:types";
  prefix t;
  import ietf-inet-types { prefix inet; }
  import ietf-yang-types { prefix yang; }
  identity kind;
  identity big { base kind; }
  identity small { base kind; }
  typedef own-address { type inet:ipv6-address; }
  typedef ipv6-address { type string { pattern '[0-9a-fA-F:]*'; } }
  typedef ip-address { type union { type string { pattern '[0-9.]*'; } type ipv6-address; } }
  container c {
    leaf int8 { type int8; }
    leaf int64 { type int64; }
    leaf uint16 { type uint16; default 1500; }
    leaf decimal { type decimal64 { fraction-digits 3; } }
    leaf boolean { type boolean; }
    leaf colour { type enumeration { enum red; enum blue; } }
    leaf bits { type bits { bit a; bit b; bit c; } }
    leaf binary { type binary; }
    leaf empty { type empty; }
    leaf kind { type identityref { base kind; } }
    leaf text { type string; }
    leaf link { type leafref { path "../uint16"; } }
    leaf path { type instance-identifier { require-instance false; } }
    leaf number-or-text { type union { type uint8; type string; } }
    leaf address { type inet:ip-address; }
    leaf own-address { type own-address; }
    leaf vendor-address { type ip-address; }
    leaf prefix { type inet:ipv6-prefix; }
    leaf mac { type yang:mac-address; }
    leaf time { type yang:date-and-time; }
    container box { leaf on { type empty; } }
    container there { presence "there"; leaf on { type empty; } }
    list by-address { key "ip"; leaf ip { type inet:ipv6-address; } leaf note { type string; } }
    list by-vendor-address { key "ip"; leaf ip { type ipv6-address; } }
    list by-name { key "name"; leaf name { type string; } leaf note { type string; } }
    list rule { key "name"; ordered-by user; leaf name { type string; } }
    leaf-list tag { type string; ordered-by user; }
    container other { list rule { key "id"; leaf id { type uint8; } } leaf by-name { type string; } }
  }
}"#;

fn yang() -> &'static Yang {
    static YANG: OnceLock<Yang> = OnceLock::new();
    YANG.get_or_init(|| {
        let text = ModuleText { name: "types".to_owned(), revision: None, text: TYPES.to_owned() };
        Yang::from_texts(vec![text]).unwrap()
    })
}

fn footprint(inside: &str) -> Footprint {
    let shape = Shape { owns: vec!["c".to_owned()], ..Shape::default() };
    let config = format!("<c xmlns='urn:types' xmlns:t='urn:types' xmlns:u='urn:types'>{inside}</c>");
    Footprint::rendered(PlatformName::new("p").unwrap(), &config, shape, Some(yang())).unwrap()
}

fn element(inside: &str) -> Element {
    let text = format!("<c xmlns='urn:types' xmlns:t='urn:types' xmlns:u='urn:types'>{inside}</c>");
    parse_str(&text, &Limits::default()).unwrap()
}

/// What libyang takes the value of a leaf for; none if it refuses it.
fn meant(leaf: &str) -> Option<String> {
    let tree = parse(&yang().0.context, &to_xml(&[element(leaf)]))?;
    tree.traverse().last().and_then(|node| node.value_canonical())
}

/// Whether turnup takes the value that a device shows for the wanted one.
fn same(name: &str, wanted: &str, shown: &str) -> bool {
    let of = |text: &str| element(&format!("<{name}>{text}</{name}>"));
    let footprint = footprint(&format!("<{name}>{wanted}</{name}>"));
    assert_eq!(footprint.check(yang()), Ok(()));
    let kinds = footprint.shape().kinds(&format!("c/{name}"));
    assert!(!kinds.is_unknown());
    let wanted = footprint.tree()[0].own_child(name).unwrap();
    same_value(of(shown).own_child(name).unwrap(), wanted, kinds)
}

fn spelled(name: &'static str) -> BoxedStrategy<String> {
    let zeros = || prop::sample::select(vec!["", "0", "00"]);
    let integer = |from: i32| {
        (from..9, zeros(), any::<bool>()).prop_map(|(n, zeros, plus)| match n {
            n if n < 0 => format!("-{zeros}{}", -n),
            n => format!("{}{zeros}{n}", if plus { "+" } else { "" }),
        })
    };
    let address = || {
        (0_u16..3, 0_u16..3, 0_u8..4).prop_map(|(a, b, how)| match how {
            0 => format!("2001:DB{a}::A{b}"),
            1 => format!("2001:db{a}:0:0::a{b}"),
            2 => format!("2001:0db{a}:0:0:0:0:0:00a{b}"),
            _ => format!("2001:db{a}::a{b}"),
        })
    };
    match name {
        "int8" | "int64" => integer(-9).boxed(),
        "uint16" | "link" => integer(0).boxed(),
        "number-or-text" => prop_oneof![integer(0), Just("x".to_owned()), Just("X".to_owned())].boxed(),
        "decimal" => (integer(-3), prop::sample::select(vec!["", ".0", ".5", ".50", ".500", ".05"]))
            .prop_map(|(whole, fraction)| whole + fraction)
            .boxed(),
        "boolean" => prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned).boxed(),
        "colour" => prop::sample::select(vec!["red", "blue"]).prop_map(str::to_owned).boxed(),
        "bits" => prop::sample::subsequence(vec!["a", "b", "c"], 0..=3)
            .prop_shuffle()
            .prop_map(|bits| bits.join(" "))
            .boxed(),
        "binary" => prop::sample::select(vec!["QUJD", "QUJDREVG", "QUJD\nREVG", "QUJE"])
            .prop_map(str::to_owned)
            .boxed(),
        "kind" => (prop::sample::select(vec!["", "t:", "u:"]), prop::sample::select(vec!["big", "small"]))
            .prop_map(|(prefix, name)| format!("{prefix}{name}"))
            .boxed(),
        "path" => (prop::sample::select(vec!["t", "u"]), prop::sample::select(vec!["text", "kind"]))
            .prop_map(|(prefix, leaf)| format!("/{prefix}:c/{prefix}:{leaf}"))
            .boxed(),
        "address" => {
            prop_oneof![address(), Just("192.0.2.1".to_owned()), Just("192.0.2.2".to_owned())].boxed()
        }
        "own-address" => address().boxed(),
        "prefix" => (0_u8..3, any::<bool>(), prop::sample::select(vec![32, 48]))
            .prop_map(|(n, upper, length)| {
                let text = format!("2001:db8:a::{n}/{length}");
                if upper { text.to_uppercase() } else { text }
            })
            .boxed(),
        "mac" => (0_u8..3, any::<bool>())
            .prop_map(|(n, upper)| {
                let text = format!("00:aa:bb:cc:dd:e{n}");
                if upper { text.to_uppercase() } else { text }
            })
            .boxed(),
        "time" => (0_u8..3, 0_u8..3)
            .prop_map(|(hour, offset)| format!("2026-01-01T{:02}:00:00+0{offset}:00", 5 + hour))
            .boxed(),
        // Also texts that look like other kinds of values.
        _ => prop_oneof![integer(-3), address(), "[a-zA-Z0-9:./-]{1,8}", Just("t:big".to_owned())].boxed(),
    }
}

const NAMES: [&str; 20] = [
    "int8",
    "int64",
    "uint16",
    "decimal",
    "boolean",
    "colour",
    "bits",
    "binary",
    "kind",
    "text",
    "link",
    "path",
    "number-or-text",
    "text-or-number",
    "address",
    "own-address",
    "prefix",
    "mac",
    "time",
    "text",
];

fn two_spellings() -> impl Strategy<Value = (&'static str, String, String)> {
    prop::sample::select(NAMES.to_vec()).prop_flat_map(|name| (Just(name), spelled(name), spelled(name)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn values_are_the_same_exactly_if_libyang_says_so((name, one, other) in two_spellings()) {
        let leaf = |text: &str| format!("<{name}>{text}</{name}>");
        let (Some(left), Some(right)) = (meant(&leaf(&one)), meant(&leaf(&other))) else { return Ok(()) };
        prop_assert_eq!(same(name, &one, &other), left == right, "{} {:?} {:?}", name, one, other);
    }

    #[test]
    fn entries_are_claimed_once_in_all_spellings(one in spelled("own-address"), other in spelled("own-address")) {
        let entry = |list: &str, key: &str, text: &str| {
            let shape = Shape { owns: vec![format!("c/{list}")], ..Shape::default() };
            let config = format!("<c xmlns='urn:types'><{list}><{key}>{text}</{key}></{list}></c>");
            let platform = PlatformName::new("p").unwrap();
            Footprint::rendered(platform, &config, shape, Some(yang())).unwrap().owned_nodes()
        };
        let of = |text: &str| meant(&format!("<own-address>{text}</own-address>")).unwrap();
        let same = of(&one) == of(&other);
        prop_assert_eq!(entry("by-address", "ip", &one) == entry("by-address", "ip", &other), same);
        // Names are texts, whatever they look like.
        prop_assert_eq!(entry("by-name", "name", &one) == entry("by-name", "name", &other), one == other);
    }
}

#[test]
fn footprints_hold_canonical_text() {
    let written = footprint(
        "<uint16>01500</uint16><decimal>1.50</decimal><bits>c a</bits><own-address>2001:DB8:0::1</own-address>\
         <kind>u:big</kind><text>0100</text><path>/u:c/u:text</path><time>2026-01-01T00:00:00Z</time>\
         <by-address><note>x</note><ip>2001:DB8::AA</ip></by-address>",
    );
    let text = written.config();
    for part in [
        "<uint16>1500</uint16>",
        "<decimal>1.5</decimal>",
        "<bits>a c</bits>",
        "<own-address>2001:db8::1</own-address>",
        ">types:big</kind>",
        "<text>0100</text>",
        ">/u:c/u:text</path>",
        "<time>2026-01-01T00:00:00Z</time>",
        "<ip>2001:db8::aa</ip><note>x</note>",
    ] {
        assert!(text.contains(part), "{part} {text}");
    }
    assert!(
        text.find("<uint16>") < text.find("<decimal>") && text.find("<time>") < text.find("<by-address>")
    );
    let nodes = written.nodes();
    assert!(nodes.typed && nodes.containers.contains("c"));
    assert_eq!(nodes.defaults["c/uint16"], "1500");
    assert_eq!(nodes.kinds["c/by-address/ip"], "address");
    assert!(!nodes.kinds.contains_key("c/text"));
    // Stored and read again, it is the same without YANG.
    let stored = serde_json::to_value(&written).unwrap();
    assert_eq!(serde_json::from_value::<Footprint>(stored).unwrap(), written);
}

/// Modules of OpenConfig and of vendors have address types of their own, which are strings to libyang.
#[test]
fn addresses_are_known_by_the_names_of_their_types() {
    let of = footprint("<vendor-address>2001:DB8:0::1</vendor-address>");
    assert!(of.config().contains("<vendor-address>2001:db8::1</vendor-address>"), "{}", of.config());
    assert!(same("vendor-address", "2001:DB8:0::1", "2001:db8::1"));
    assert!(!same("vendor-address", "2001:DB8:0::1", "2001:db8::2"));
    assert!(same("vendor-address", "192.0.2.1", "192.0.2.1"));
    // The pattern has no dots, so this value keeps its spelling.
    let mapped = footprint("<by-vendor-address><ip>::FFFF:C000:201</ip></by-vendor-address>");
    assert!(mapped.config().contains("<ip>::FFFF:C000:201</ip>"), "{}", mapped.config());
    let claims =
        |ip: &str| footprint(&format!("<by-vendor-address><ip>{ip}</ip></by-vendor-address>")).owned_nodes();
    assert_eq!(claims("2001:DB8:0::1"), claims("2001:db8::1"));
}

#[test]
fn two_spellings_of_one_entry_are_one_entry() {
    let shape = Shape { owns: vec!["c/by-address".to_owned()], ..Shape::default() };
    let entry = |ip: &str| format!("<by-address><ip>{ip}</ip></by-address>");
    let config = format!("<c xmlns='urn:types'>{}{}</c>", entry("2001:db8::1"), entry("2001:DB8::1"));
    let found = Footprint::rendered(PlatformName::new("p").unwrap(), &config, shape, Some(yang()));
    assert!(matches!(found, Err(crate::error::BadContent::Duplicate { .. })), "{found:?}");
}

#[test]
fn lists_are_known_by_their_paths() {
    let list = |path: &str| {
        yang().list("urn:types", path, "urn:types").map(|list| (list.keys.join(" "), list.ordered))
    };
    assert_eq!(list("c/rule"), Some(("name".to_owned(), true)));
    assert_eq!(list("c/tag"), Some((".".to_owned(), true)));
    assert_eq!(list("c/other/rule"), Some(("id".to_owned(), false)));
    assert_eq!(list("c/other/by-name"), Some((String::new(), false)), "a leaf with the name of a list");
    assert_eq!(list("c/text"), None);
    let of_both = footprint("<rule><name>a</name></rule><other><rule><id>01</id></rule></other>");
    assert!(of_both.nodes().ordered.contains("c/rule") && !of_both.nodes().ordered.contains("c/other/rule"));
    assert_eq!(of_both.keys()["c/other/rule"], ["id"]);
}

#[test]
fn what_no_module_has_leaves_the_rest_known() {
    let shape = Shape { owns: vec!["c".to_owned(), "d".to_owned()], ..Shape::default() };
    let config =
        "<d xmlns='urn:gap'><x>01</x></d><c xmlns='urn:types'><uint16>01</uint16><text>01</text></c>";
    let found = Footprint::rendered(PlatformName::new("p").unwrap(), config, shape, Some(yang())).unwrap();
    assert!(found.config().contains("<x>01</x>") && found.config().contains("<uint16>1</uint16>"));
    let kinds = |path: &str| found.shape().kinds(path);
    assert!(kinds("d/x").is_unknown());
    assert_eq!(kinds("c/text"), Kind::Exact.into());
    assert_eq!(kinds("c/uint16"), Kind::Integer.into());
}

#[test]
fn audits_know_defaults_and_containers_that_are_not_wanted() {
    let of = footprint("<text>x</text>");
    assert_eq!(of.nodes_for_audit(None), *of.nodes());
    let facts = of.nodes_for_audit(Some(yang()));
    assert_eq!(facts.defaults["c/uint16"], "1500");
    assert!(facts.containers.contains("c/box") && !facts.containers.contains("c/there"));
    for path in ["c/empty", "c/there", "c/box/on"] {
        assert!(facts.present.contains(path), "{path}");
    }
}
