//! Which differences are drift, and what takes a repair back.

use turnup_core::nodes::NodeFacts;
use turnup_netconf::namespace::BASE;

use super::*;
use crate::work::parse;

fn xml(text: &str) -> Element {
    parse(&text.replace("<p>", &format!(r#"<p xmlns="urn:a" xmlns:nc="{BASE}">"#))).unwrap()
}

fn nodes(facts: NodeFacts) -> Nodes {
    Nodes::new(&BTreeMap::from([("e".to_owned(), vec!["k".to_owned()])]), &facts)
}

fn whole(before: &str, rewrite: &str, owned: &[&str]) -> Whole {
    let service = WholeService {
        before: String::new(),
        rewrite: None,
        owned: owned.iter().map(|path| (*path).to_owned()).collect(),
        inside: NodeFacts::default(),
        on_drift: OnDrift::Refuse,
    };
    Whole::new(&service, xml(before), xml(rewrite))
}

/// An entry that goes from a=1 to a=2, with b=1 in it, and one that goes away.
fn example() -> Whole {
    whole(
        "<p><e><k>1</k><a>1</a><b>1</b></e><e><k>2</k><a>1</a></e></p>",
        r#"<p><e nc:operation="replace"><k>1</k><a>2</a><b>1</b></e><e nc:operation="remove"><k>2</k></e></p>"#,
        &["/p/e[k='1']", "/p/e[k='2']"],
    )
}

#[test]
fn only_what_is_neither_as_before_nor_as_wanted_is_drift() {
    let (whole, nodes) = (example(), nodes(NodeFacts::default()));
    let found = |data: &str| -> Vec<String> {
        let drift = whole.drift(&xml(data), &nodes, ReadOptions::default());
        drift.into_iter().map(|difference| difference.path).collect()
    };
    let second = "<e><k>2</k><a>1</a></e>";
    assert_eq!(found(&format!("<p><e><k>1</k><a>1</a><b>1</b></e>{second}</p>")), [""; 0], "as before");
    assert_eq!(found("<p><e><k>1</k><a>2</a><b>1</b></e></p>"), [""; 0], "as wanted");
    assert_eq!(found(&format!("<p><e><k>1</k><a>2</a><b>1</b></e>{second}</p>")), [""; 0], "half of each");
    assert_eq!(found(&format!("<p><e><k>1</k><a>3</a><b>1</b></e>{second}</p>")), ["/p/e[k='1']/a"]);
    assert_eq!(found("<p><e><k>1</k><a>2</a></e></p>"), ["/p/e[k='1']/b"]);
    assert_eq!(found("<p><e><k>1</k><a>2</a><b>1</b></e><e><k>2</k><a>9</a></e></p>"), ["/p/e[k='2']/a"]);
    assert_eq!(found("<p><e><k>1</k><a>2</a><b>1</b><c>1</c></e></p>"), ["/p/e[k='1']/c"], "extra");
    assert_eq!(found("<p><e><k>1</k><a>2</a><b>1</b></e><e><k>7</k></e></p>"), [""; 0], "another's");
}

#[test]
fn defaults_that_a_device_shows_are_no_drift() {
    let data = xml("<p><e><k>1</k><a>1</a><b>1</b><c>5</c></e><e><k>2</k><a>1</a></e></p>");
    let whole = example();
    let known = NodeFacts {
        typed: true,
        defaults: [("p/e/c".to_owned(), "5".to_owned())].into(),
        ..NodeFacts::default()
    };
    assert_eq!(whole.drift(&data, &nodes(known.clone()), ReadOptions::default()), [], "known from YANG");
    let other = NodeFacts { defaults: [("p/e/c".to_owned(), "6".to_owned())].into(), ..known };
    assert_eq!(whole.drift(&data, &nodes(other), ReadOptions::default()).len(), 1, "no default");
    let uri = "urn:ietf:params:netconf:capability:with-defaults:1.0?basic-mode=report-all";
    let shows_all = ReadOptions::of(
        &turnup_netconf::capability::Capabilities::new([uri]),
        turnup_core::profile::WithDefaults::AsOffered,
    );
    assert_eq!(whole.drift(&data, &nodes(NodeFacts::default()), shows_all), [], "it can't be told");
    let changed = xml("<p><e><k>1</k><a>1</a><b>2</b></e><e><k>2</k><a>1</a></e></p>");
    assert_eq!(whole.drift(&changed, &nodes(NodeFacts::default()), shows_all).len(), 1, "but this can");
}

#[test]
fn order_of_entries_is_drift_where_it_counts() {
    let entries = |of: [&str; 2]| of.map(|key| format!("<e><k>{key}</k></e>")).concat();
    let acl = whole(
        &format!("<p><l>{}</l></p>", entries(["1", "2"])),
        &format!(r#"<p><l nc:operation="replace">{}</l></p>"#, entries(["1", "2"])),
        &["/p/l"],
    );
    let data = xml(&format!("<p><l>{}</l></p>", entries(["2", "1"])));
    let ordered = NodeFacts { ordered: ["p/l/e".to_owned()].into(), ..NodeFacts::default() };
    assert_eq!(acl.drift(&data, &nodes(ordered), ReadOptions::default()).len(), 1);
    assert_eq!(acl.drift(&data, &nodes(NodeFacts::default()), ReadOptions::default()), []);
}

#[test]
fn slashes_in_keys_are_no_steps() {
    let inner = "/p/e[k='ge-0/0/1']/a";
    assert_eq!(above(inner).collect::<Vec<_>>(), ["/p", "/p/e[k='ge-0/0/1']"]);
    let quoted = r#"/p/e[k="it's/here"]/a"#;
    assert_eq!(above(quoted).collect::<Vec<_>>(), ["/p", r#"/p/e[k="it's/here"]"#]);
    let paths = Paths::new(vec![Difference {
        path: inner.to_owned(),
        kind: turnup_netconf::compare::DifferenceKind::Unwanted,
    }]);
    assert!(paths.meets("/p/e[k='ge-0/0/1']") && paths.meets("/p/e[k='ge-0/0/1']/a/b") && paths.meets(inner));
    assert!(!paths.meets("/p/e[k='ge-0/0/1']/ab") && !paths.meets("/p/e[k='ge-0']"));
}

#[test]
fn repair_is_taken_back_to_what_was_found_and_nothing_else() {
    let nodes = nodes(NodeFacts::default());
    let service = whole(
        "<p/>",
        r#"<p><e nc:operation="replace"><k>1</k><a>2</a></e><e nc:operation="remove"><k>2</k></e><s>shared</s>
           <e nc:operation="replace"><k>3</k></e><h><e nc:operation="remove"><k>9</k></e></h></p>"#,
        &[],
    );
    let found = xml(
        r#"<p><e><k>1</k><a>7</a><d xmlns:wd="urn:ietf:params:xml:ns:netconf:default:1.0" wd:default="true">1</d></e>
           <e inactive="inactive"><k>2</k><a>8</a></e></p>"#,
    );
    let back = service.restore(&found, &nodes).iter().map(Element::to_xml).collect::<String>();
    let back = back.replace(&format!(r#" xmlns:nc="{BASE}""#), "").replace(r#" xmlns="urn:a""#, "");
    let wanted = r#"<p><e nc:operation="replace"><k>1</k><a>7</a></e><e inactive="inactive" nc:operation="replace"><k>2</k><a>8</a></e><e nc:operation="remove"><k>3</k></e></p>"#;
    assert_eq!(back, wanted);
    let inverse = xml("<p><e><k>1</k><a>1</a></e><s>old</s><q>1</q></p>");
    let rest: String = service.outside(&inverse, &nodes).iter().map(Element::to_xml).collect();
    assert!(!rest.contains("<k>1</k>") && rest.contains("<s>old</s>") && rest.contains("<q>1</q>"), "{rest}");
}

#[test]
fn secret_is_put_back_as_it_was_ordered_and_not_as_it_is_shown() {
    let whole = whole(
        "<p><e><k>1</k><pw>$0$known</pw><pin>1234</pin><a>1</a></e></p>",
        r#"<p><e nc:operation="replace"><k>1</k><pw>$0$new</pw><pin>5678</pin><a>2</a></e></p>"#,
        &["/p/e[k='1']"],
    );
    let facts = NodeFacts {
        secret: ["p/e/pw".to_owned()].into(),
        write_only: ["p/e/pin".to_owned()].into(),
        ..NodeFacts::default()
    };
    let hash = "$1$saltstri$YMyguxXMBpd2TEZ.vS/3q1";
    for (shown, wanted) in [("****", "$0$known"), ("$9$abc", "$0$known"), (hash, hash)] {
        let found = xml(&format!("<p><e><k>1</k><pw>{shown}</pw><a>7</a></e></p>"));
        let back = whole.restore(&found, &nodes(facts.clone()));
        let text = back.iter().map(Element::to_xml).collect::<String>();
        assert!(text.contains(&format!("<pw>{wanted}</pw>")), "{shown}: {text}");
        assert!(text.contains("<pin>1234</pin>") && text.contains("<a>7</a>"), "{shown}: {text}");
    }
    let plain = whole.restore(&xml("<p><e><k>1</k><pw>x</pw></e></p>"), &nodes(NodeFacts::default()));
    assert!(plain[0].to_xml().contains("<pw>x</pw>"));
}
