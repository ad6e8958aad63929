//! Whatever is given, a check ends with an answer, the same each time, and a mistake more never hides all
//! others.

use std::sync::OnceLock;

use proptest::prelude::*;
use turnup_plan::Yang;

use crate::{boxed, check};

fn yang() -> &'static Yang {
    static YANG: OnceLock<Yang> = OnceLock::new();
    YANG.get_or_init(boxed)
}

/// Elements with the module's names in right and wrong places, with good, bad and odd values.
fn element() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "box", "number", "word", "colour", "kind", "address", "fancy", "link", "path", "either", "load",
        "tag", "any", "left", "l", "r1", "item", "name", "size", "inner", "needed", "present", "round",
        "edge", "part", "a", "b", "weight", "note", "shake", "hard", "id", "odd",
    ]);
    let space =
        prop::sample::select(vec!["", "", "", "", " xmlns=\"urn:extra\"", " xmlns=\"urn:no\"", " x=\"1\""]);
    let value = prop::sample::select(vec![
        "",
        "1",
        "11",
        "x",
        "abc",
        "red",
        "b:big",
        "10.0.0.1",
        "/b:box",
        "/b:box/b:item[b:name='1']/b:size",
        " ",
        "&lt;&amp;'",
        "é",
        "<!-- c -->1",
        "<?pi x?>",
        "<![CDATA[<a>]]>",
        "&#10;",
        "-1",
        "99999999999999999999",
    ]);
    let leaf = (name.clone(), space.clone(), value)
        .prop_map(|(name, space, value)| format!("<{name}{space}>{value}</{name}>"));
    leaf.prop_recursive(5, 40, 8, move |inner| {
        let inside = prop::collection::vec(inner, 0..8);
        (name.clone(), space.clone(), inside)
            .prop_map(|(name, space, inside)| format!("<{name}{space}>{}</{name}>", inside.concat()))
    })
}

fn config() -> impl Strategy<Value = String> {
    prop::collection::vec(element(), 0..10)
        .prop_map(|inside| format!("<box xmlns=\"urn:box\" xmlns:b=\"urn:box\">{}</box>", inside.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer(config in config()) {
        let found = check(yang(), &["box/item"], &config);
        prop_assert!(found.len() <= 20);
        prop_assert!(found.iter().all(|found| found.starts_with('/')));
        prop_assert_eq!(&found, &check(yang(), &["box/item"], &config));
        // Asking for whole nodes finds more, never less.
        let passed_through = check(yang(), &[], &config);
        if found.len() < 20 {
            prop_assert!(passed_through.iter().all(|one| found.contains(one)), "{:?} {:?}", passed_through, found);
        }
    }

    #[test]
    fn an_unknown_element_more(config in config()) {
        let worse = config.replace("</box>", "") + "<unknown-for-sure/></box>";
        let found = check(yang(), &[], &config);
        if config.ends_with("</box>") && config.matches("</box>").count() == 1 && found.len() < 20 {
            let more = check(yang(), &[], &worse);
            prop_assert!(found.iter().all(|one| more.contains(one)), "{found:#?} {more:#?}");
            prop_assert_eq!(more.len(), found.len() + 1);
        }
    }
}
