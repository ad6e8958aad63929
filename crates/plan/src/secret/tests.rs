use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn another_value_has_the_same_form() {
    assert_eq!(other(&json!("$6$salt$abcXYZ089")), json!("$6$tbmu$bcdYZA190"));
    assert_eq!(other(&json!("!")), json!("-"));
    assert_eq!(other(&json!("-")), json!("_"));
    assert_eq!(other(&json!([41, true, {"a": "b"}])), json!([42, false, {"a": "c"}]));
    assert_eq!(other(&json!("")), json!("x"));
}

#[test]
fn nodes_that_differ_come_from_a_secret() {
    let output =
        "<a xmlns=\"urn:a\"><n>1</n><p>$0$x</p><b><q>x</q></b></a><a xmlns=\"urn:a\"><n>2</n><p>y</p></a>";
    let other =
        "<a xmlns=\"urn:a\"><n>1</n><p>$0$z</p><b><q>z</q></b></a><a xmlns=\"urn:a\"><n>2</n><p>y</p></a>";
    let found = tainted(output, other).unwrap();
    assert_eq!(found, BTreeSet::from(["a/b/q".to_owned(), "a/p".to_owned()]));
    assert_eq!(tainted(output, "<"), None);
    let found = holding(output, &Redactor::new(["$0$x"]));
    assert_eq!(found, BTreeSet::from(["a/b/q".to_owned(), "a/p".to_owned()]));
}

#[test]
fn secret_leaves_are_masked_and_nothing_else() {
    let facts = NodeFacts {
        secret: BTreeSet::from(["u/auth".to_owned()]),
        write_only: BTreeSet::from(["u/pin".to_owned()]),
        opaque: BTreeSet::from(["u/banner".to_owned()]),
        ..NodeFacts::default()
    };
    let config =
        "<u xmlns=\"urn:a\"><name>n</name><auth><a>1</a><b/></auth><pin>2</pin><banner>x</banner></u>";
    assert_eq!(
        masked(config, &facts),
        "<u xmlns=\"urn:a\"><name>n</name><auth><a>(secret)</a><b/></auth><pin>(secret)</pin><banner>x</banner></u>"
    );
    assert_eq!(masked("", &facts), "");
    assert_eq!(masked("no xml", &facts), MASK);
    assert_eq!(masked("no xml", &NodeFacts::default()), "no xml");
}

proptest! {
    #[test]
    fn another_text_is_another(text in "\\PC{0,20}") {
        prop_assert_ne!(other_text(&text), text);
    }
}
