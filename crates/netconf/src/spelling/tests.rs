use super::*;
use crate::xml::{Limits, parse_str};

fn leaf(text: &str) -> Element {
    Element::new("urn:t", "x").with_text(text)
}

fn parsed(xml: &str) -> Element {
    parse_str(xml, &Limits::default()).unwrap()
}

fn same(a: &str, b: &str, kinds: impl Into<Kinds>) -> bool {
    let kinds = kinds.into();
    let same = same_value(&leaf(a), &leaf(b), kinds);
    assert_eq!(same, same_value(&leaf(b), &leaf(a), kinds), "symmetric");
    if same {
        assert_eq!(loose(&leaf(a), kinds), loose(&leaf(b), kinds), "found by the loose index");
    }
    same
}

#[test]
fn qualified_names_are_the_same_by_meaning() {
    let identity = Kinds::from(Kind::Identity);
    let a = parsed(r#"<x xmlns:p="urn:t">p:eth</x>"#);
    for kinds in [identity, Kinds::UNKNOWN] {
        assert!(same_value(&a, &parsed(r#"<x xmlns:q="urn:t"> q:eth </x>"#), kinds));
        assert!(same_value(&a, &parsed("<x>eth</x>"), kinds) && same_value(&parsed("<x>eth</x>"), &a, kinds));
        // Not bound, as some servers send it.
        assert!(same_value(&a, &parsed("<x>p:eth</x>"), kinds));
        assert!(!same_value(&a, &parsed(r#"<x xmlns:q="urn:other">q:eth</x>"#), kinds));
        assert!(!same_value(&leaf("1"), &leaf("2"), kinds));
    }
    let other = parsed(r#"<x xmlns:p="urn:other">p:eth</x>"#);
    assert!(!same_value(&a, &other, identity));
    // Equal text is equal where nothing says that it has a prefix.
    assert!(same_value(&a, &other, Kinds::UNKNOWN));
    assert!(same_value(&a, &other, Kind::Exact.into()));
    assert!(!same_value(&a, &parsed(r#"<x xmlns:q="urn:t">q:eth</x>"#), Kind::Exact.into()));
}

#[test]
fn paths_are_the_same_under_other_prefixes_and_quotes() {
    let a = parsed(r#"<x xmlns:p="urn:t">/p:a/p:b[p:n='p:1']</x>"#);
    let same = |xml: &str| same_value(&a, &parsed(xml), Kind::Path.into());
    assert!(same(r#"<x xmlns:q="urn:t">/q:a/q:b[q:n = "p:1"]</x>"#));
    assert!(!same(r#"<x xmlns:q="urn:t">/q:a/q:b[q:n="q:1"]</x>"#));
    assert!(!same(r#"<x xmlns:p="urn:u">/p:a/p:b[p:n='p:1']</x>"#));
}

#[test]
fn spellings_of_known_kinds() {
    for (a, b, kind) in [
        ("+5", "05", Kind::Integer),
        ("-0", "0", Kind::Integer),
        ("1.50", "01.5", Kind::Decimal),
        ("-0.50", "-0.5", Kind::Decimal),
        ("2.0", "2", Kind::Decimal),
        ("2001:DB8:0:0::1", "2001:db8::1", Kind::Address),
        ("FE80::1%eth0", "fe80:0::1%eth0", Kind::Address),
        ("2001:DB8::/32", "2001:db8::/032", Kind::Address),
        ("10.1.2.3/8", "10.0.0.0/8", Kind::Prefix),
        ("2001:db8::1/32", "2001:DB8::/32", Kind::Prefix),
        ("::1/0", "::/0", Kind::Prefix),
        ("00:AA:bb", "00:aa:BB", Kind::Hex),
        ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", Kind::Time),
        ("QUJD\n REVG", "QUJDREVG", Kind::Binary),
        ("b  a", "a b", Kind::Bits),
    ] {
        assert!(same(a, b, kind), "{a} {b} {kind:?}");
        assert!(!same(a, b, Kind::Exact), "{a} {b}");
    }
    for (a, b, kind) in [
        ("5", "-5", Kind::Integer),
        ("0x10", "16", Kind::Integer),
        ("1.5", "1.05", Kind::Decimal),
        ("10.1.2.3/8", "10.0.0.0/8", Kind::Address),
        ("fe80::1%eth0", "fe80::1%eth1", Kind::Address),
        ("a b", "a", Kind::Bits),
    ] {
        assert!(!same(a, b, kind), "{a} {b} {kind:?}");
    }
    // What a member of a union can be read as decides.
    let union = Kinds::from(Kind::Integer).with(Kind::Exact.into());
    assert!(same("05", "5", union) && same("x", "x", union));
    assert!(!same("X", "x", union) && !same("5x", "05x", union));
}

#[test]
fn spellings_of_unknown_kinds_show_by_their_form() {
    for (a, b) in [
        ("0100", "100"),
        ("+5", "5"),
        ("1.50", "1.5"),
        ("2001:DB8::1/64", "2001:db8:0::1/64"),
        ("00:AA", "00:aa"),
        ("0A-0B", "0a-0b"),
        ("QUJD\nREVG", "QUJDREVG"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000+00:00"),
    ] {
        assert!(same(a, b, Kinds::UNKNOWN), "{a} {b}");
        assert!(!same_writing(&leaf(a), &leaf(b), Kinds::UNKNOWN), "{a} {b}");
    }
    for (a, b) in [
        ("abc", "ABC"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("a b", "b a"),
        ("ab cd", "abcd"),
        ("ge-0/0/1", "ge-0/0/01"),
        ("1.2.3", "1.2.30"),
        ("", "0"),
        ("-", "+"),
    ] {
        assert!(!same(a, b, Kinds::UNKNOWN), "{a} {b}");
    }
}

#[test]
fn normal_texts_are_of_addresses_unless_a_kind_is_known() {
    assert_eq!(normal(&leaf("2001:DB8::AA"), Kinds::UNKNOWN), "2001:db8::aa");
    assert_eq!(normal(&leaf("2001:DB8::AA"), Kind::Exact.into()), "2001:DB8::AA");
    for text in ["01", "1.50", "00:AA", " x ", "nc:1"] {
        assert_eq!(normal(&leaf(text), Kinds::UNKNOWN), text);
    }
    assert_eq!(normal(&leaf("01"), Kind::Integer.into()), "1");
    assert_eq!(normal(&parsed(r#"<x xmlns:p="urn:t">p:eth</x>"#), Kind::Identity.into()), "{urn:t}eth");
    assert_eq!(normal(&parsed(r#"<x xmlns:p="urn:t">p:eth</x>"#), Kind::Exact.into()), "p:eth");
}

#[test]
fn kinds_survive_as_text() {
    let kinds = Kinds::from(Kind::Exact).with(Kind::Integer.into());
    assert_eq!(kinds.to_text(), "integer exact");
    assert_eq!(Kinds::parse(&kinds.to_text()), kinds);
    assert!(Kinds::parse("integer of-tomorrow").is_unknown());
    assert!(Kinds::parse("").is_unknown());
}

#[test]
fn another_spelling_is_of_the_same_value() {
    for (text, kind) in [
        ("5", Kind::Integer),
        ("-5", Kind::Integer),
        ("+5", Kind::Integer),
        ("1.5", Kind::Decimal),
        ("1", Kind::Decimal),
        ("2001:db8::1", Kind::Address),
        ("2001:db8::1/64", Kind::Address),
        ("2001:db8::/32", Kind::Prefix),
        ("10.0.0.0/8", Kind::Prefix),
        ("10.0.0.1/8", Kind::Prefix),
        ("2001:DB8::1/32", Kind::Prefix),
        ("00:aa", Kind::Hex),
        ("00:AA", Kind::Hex),
        ("2026-01-01T00:00:00Z", Kind::Time),
        ("2026-01-01T00:00:00+01:00", Kind::Time),
    ] {
        let other = respelled(text, kind).unwrap_or_else(|| panic!("{text} {kind:?}"));
        assert!(other != text && same(text, &other, kind), "{text} {other}");
    }
    assert_eq!(respelled("10.0.0.1", Kind::Address), None, "has one spelling");
    assert_eq!(respelled("00:11", Kind::Hex), None);
    assert_eq!(respelled("x", Kind::Integer), None);
}

proptest::proptest! {
    #[test]
    fn equal_text_is_equal(text in "[ -~\\n]{0,12}", at in 0..ALL.len()) {
        let kind = ALL[at].0;
        proptest::prop_assert!(same_value(&leaf(&text), &leaf(&text), kind.into()));
        proptest::prop_assert!(same_value(&leaf(&text), &leaf(&text), Kinds::UNKNOWN));
    }

    #[test]
    fn sameness_is_symmetric_and_found(a in "[0-9a-fA-F:./+-]{0,6}", b in "[0-9a-fA-F:./+-]{0,6}") {
        same(&a, &b, Kinds::UNKNOWN);
        for (kind, _) in ALL {
            same(&a, &b, kind);
        }
    }
}
