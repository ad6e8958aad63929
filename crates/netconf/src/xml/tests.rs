use proptest::prelude::*;

use super::*;
use crate::namespace;

fn parsed(text: &str) -> Element {
    parse_str(text, &Limits::default()).unwrap()
}

fn refused(text: &str) -> XmlError {
    parse_str(text, &Limits::default()).unwrap_err()
}

#[test]
fn resolves_prefixes_of_names() {
    let tree = parsed(
        r#"<?xml version="1.0" encoding="UTF-8"?>
        <!-- comment --><a:x xmlns:a="urn:a" xmlns="urn:d" a:p="1" q="2">
          <y/><b:z xmlns:b="urn:b" b:r="3"/><a:w xmlns=""><v/></a:w>
        </a:x>"#,
    );
    assert!(tree.is("urn:a", "x"));
    assert_eq!(tree.attribute_ns("urn:a", "p"), Some("1"));
    assert_eq!(tree.attribute("q"), Some("2"));
    assert!(tree.child("urn:d", "y").is_some());
    assert_eq!(tree.child("urn:b", "z").unwrap().attribute_ns("urn:b", "r"), Some("3"));
    assert!(tree.child("urn:a", "w").unwrap().child("", "v").is_some());
    assert_eq!(tree.nodes().len(), 3, "white space between elements isn't kept");
}

#[test]
fn keeps_text_as_it_is_and_trims_on_demand() {
    let tree = parsed("<a><b> x &amp; &#x41;<![CDATA[<&>]]> \r\n</b><c>  </c><d/></a>");
    assert_eq!(tree.child("", "b").unwrap().raw_text(), " x & A<&> \n");
    assert_eq!(tree.child("", "b").unwrap().text(), "x & A<&>");
    assert_eq!(tree.child("", "c").unwrap().raw_text(), "  ");
    assert!(tree.child("", "c").unwrap().is_empty());
    assert_eq!(tree.child("", "d").unwrap().text(), "");
    // Not ASCII white space, so it is data.
    assert_eq!(parsed("<a>\u{a0}x</a>").text(), "\u{a0}x");
}

#[test]
fn keeps_the_prefixes_that_values_use_on_the_element() {
    let tree = parsed(
        r#"<a xmlns="urn:a" xmlns:t="urn:types" xmlns:u="urn:unused"><b>t:eth</b><c>10:20:fe80::1</c>
        <d select="/t:x[t:y='1']/z"/></a>"#,
    );
    let b = tree.own_child("b").unwrap();
    assert_eq!(b.prefixes().collect::<Vec<_>>(), [("t", "urn:types")]);
    assert_eq!(b.expanded_text(), "{urn:types}eth");
    assert_eq!(b.to_xml(), r#"<b xmlns="urn:a" xmlns:t="urn:types">t:eth</b>"#);
    assert_eq!(tree.own_child("c").unwrap().prefixes().count(), 0);
    assert_eq!(tree.own_child("d").unwrap().prefixes().collect::<Vec<_>>(), [("t", "urn:types")]);
    assert_eq!(tree.prefixes().count(), 0);
}

#[test]
fn declares_namespaces_once_and_correctly() {
    let tree = Element::base("config").with_child(
        Element::new("urn:a", "top")
            .with_child(
                Element::new("urn:a", "list")
                    .with_attribute_ns(namespace::BASE, "operation", "remove")
                    .with_attribute_ns("urn:own", "tag", "\"<>&\n\t")
                    .with_leaf("name", "<a> & \"b\""),
            )
            .with_child(Element::new("", "bare").with_attribute_ns(namespace::XML, "lang", "en")),
    );
    let xml = tree.to_xml();
    assert_eq!(
        xml,
        "<config xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><top xmlns=\"urn:a\">\
         <list xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"remove\" \
         xmlns:ns1=\"urn:own\" ns1:tag=\"&quot;&lt;&gt;&amp;&#10;&#9;\">\
         <name>&lt;a&gt; &amp; \"b\"</name></list><bare xmlns=\"\" xml:lang=\"en\"/></top></config>"
    );
    assert_eq!(parsed(&xml), tree);
    assert_eq!(parsed(&tree.to_pretty_xml()), tree);
    assert_eq!(tree.to_pretty_xml().lines().count(), 8);
}

#[test]
fn an_attribute_never_takes_a_prefix_that_the_value_relies_on() {
    let tree = Element::new("urn:a", "x")
        .with_prefix("nc", "urn:not-netconf")
        .with_prefix("ns1", "urn:one")
        .with_attribute_ns(namespace::BASE, "operation", "merge")
        .with_attribute_ns("urn:own", "tag", "1")
        .with_text("nc:value ns1:value");
    assert_eq!(parsed(&tree.to_xml()), tree);
    let outer = Element::new("", "y").with_attribute_ns("urn:b", "p", "").with_child(
        Element::new("", "z").with_attribute_ns("urn:b", "p", "").with_attribute_ns("urn:a", "p", ""),
    );
    assert_eq!(parsed(&outer.to_xml()), outer);
    // The same when the value's prefixes are inherited.
    let outer =
        Element::new("urn:a", "y").with_prefix("nc", "urn:not-netconf").with_text("nc:v").with_child(tree);
    assert_eq!(parsed(&outer.to_xml()), outer);
}

#[test]
fn replaces_what_xml_cannot_hold() {
    assert_eq!(
        Element::new("", "a").with_text("x\u{0}\u{b}\u{ffff}y").to_xml(),
        "<a>x\u{fffd}\u{fffd}\u{fffd}y</a>"
    );
}

#[test]
fn refuses_what_is_not_well_formed() {
    for text in [
        "",
        " ",
        "x",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a><b></a></b>",
        "<a",
        "<a b>",
        "<a b=c/>",
        "<a b='1' b='2'/>",
        "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<p:a/>",
        "<a p:b='1'/>",
        "<:a/>",
        "<a:/>",
        "<1a/>",
        "<a.b:c.d/>",
        "<a b='<'/>",
        "<a>&unknown;</a>",
        "<a>&#0;</a>",
        "<a>&#xffff;</a>",
        "<a>\u{1}</a>",
        "<a xmlns:p=''/>",
        "<a xmlns:xml='urn:x'/>",
        "<a xmlns:xmlns='urn:x'/>",
        "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<a>&lt</a>",
        "<a><![CDATA[x</a>",
        "<a><!-- </a>",
        "<a/><?xml version='1.0'?>",
        "<a b='\u{b}'/>",
        "<xml:a/>",
    ] {
        assert!(matches!(refused(text), XmlError::Malformed { .. }), "{text:?}: {:?}", refused(text));
    }
}

#[test]
fn refuses_document_types_and_other_encodings() {
    assert_eq!(refused("<!DOCTYPE a><a/>"), XmlError::Dtd);
    assert_eq!(refused("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), XmlError::Dtd);
    assert!(matches!(refused("<?xml version='1.0' encoding='ISO-8859-1'?><a/>"), XmlError::NotUtf8 { .. }));
    assert_eq!(parse(b"<a>\xff</a>", &Limits::default()), Err(XmlError::NotUtf8 { at: 3 }));
    assert_eq!(parse(b"\xef\xbb\xbf<a/>", &Limits::default()).unwrap().name(), "a");
}

#[test]
fn holds_every_limit() {
    let limits = Limits { max_bytes: 60, max_depth: 3, max_attributes: 2, max_nodes: 4 };
    let what = |text: &str| match parse_str(text, &limits) {
        Err(XmlError::TooLarge { what, .. }) => what,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(what(&format!("<a>{}</a>", "x".repeat(60))), "bytes");
    assert_eq!(what("<a><a><a><a/></a></a></a>"), "levels");
    assert_eq!(what("<a b='1' c='2' xmlns='d'/>"), "attributes in one element");
    assert_eq!(what("<a><b/><b/><b/><b/></a>"), "nodes");
    assert_eq!(what("<a><b>1</b><b>2</b></a>"), "nodes");
    assert!(parse_str("<a b='1' c='2'><a><a/></a>x</a>", &limits).is_ok());
    let deep = "<a>".repeat(5000);
    let unlimited = Limits { max_depth: usize::MAX, ..Limits::default() };
    let ceiling = XmlError::TooLarge { what: "levels", limit: Limits::DEPTH_CEILING };
    assert_eq!(parse_str(&deep, &unlimited), Err(ceiling));
    let bindings: String = (0..60).map(|n| format!(" xmlns:p{n}='u'")).collect();
    let many = format!("<a{bindings}>").repeat(10);
    assert!(matches!(parse_str(&many, &Limits::default()), Err(XmlError::TooLarge { limit: 256, .. })));
}

#[test]
fn navigates_and_edits() {
    let mut tree = Element::new("urn:a", "x")
        .with_leaf("n", "1")
        .with_leaf("n", "2")
        .with_child(Element::new("urn:b", "n"));
    assert_eq!(
        tree.children_named("urn:a", "n").map(|n| n.text().into_owned()).collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert_eq!(tree.count(), 4);
    assert_eq!(tree.child_text("urn:a", "n").unwrap(), "1");
    assert!(tree.descend(&["n"]).is_some() && tree.descend(&["n", "m"]).is_none());
    tree.child_mut("urn:a", "n").unwrap().set_text("3");
    assert_eq!(tree.own_child("n").unwrap().text(), "3");
    tree.set_attribute_ns("", "k", "1");
    tree.set_attribute_ns("", "k", "2");
    assert_eq!(tree.attributes().len(), 1);
    assert_eq!(tree.remove_attribute_ns("", "k").as_deref(), Some("2"));
    assert_eq!(tree.into_children().count(), 3);
}

/// Texts that survive: not only white space, since that between elements isn't kept.
fn text() -> impl Strategy<Value = String> {
    "[ -~\t\n\r\u{a0}é€\u{10000}]{0,12}[!-~é]"
}

fn tree() -> impl Strategy<Value = Element> {
    let name = || "[a-z_][a-z0-9.-]{0,5}";
    let uri = || prop::sample::select(vec!["", "urn:a", "urn:b", namespace::BASE, namespace::YANG]);
    let attributes = move || prop::collection::vec((uri(), name(), "[ -~\t\n\ré]{0,8}"), 0..4);
    let element = move || {
        (uri(), name(), attributes()).prop_map(|(uri, name, attributes)| {
            let mut element = Element::new(uri, name);
            for (uri, name, value) in attributes.into_iter().filter(|(_, name, _)| name != "xmlns") {
                element.set_attribute_ns(uri, name, value);
            }
            element
        })
    };
    let leaf = (element(), prop::option::of(text())).prop_map(|(element, text)| match text {
        Some(text) => element.with_text(text),
        None => element,
    });
    leaf.prop_recursive(4, 40, 6, move |inner| {
        (element(), prop::collection::vec(inner, 1..6))
            .prop_map(|(element, children)| element.with_children(children))
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(tree in tree()) {
        let xml = tree.to_xml();
        prop_assert!(!xml.contains("]]>"));
        prop_assert_eq!(&parsed(&xml), &tree);
    }

    #[test]
    fn parsing_never_panics_and_is_stable(text in "(<[/?!]?|>|/>|a|b|:|=|'|\"|xmlns|&#?|;|x|\\]\\]>|<!\\[CDATA\\[|--|<a>|</a>| |é){0,40}") {
        if let Ok(tree) = parse_str(&text, &Limits::default()) {
            prop_assert_eq!(&parsed(&tree.to_xml()), &tree);
        }
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, &Limits::default());
    }
}

mod lenient {
    use super::*;

    fn lenient(bytes: &[u8]) -> Result<(Element, Vec<Replaced>), XmlError> {
        parse_lenient(bytes, &Limits::default())
    }

    #[test]
    fn bytes_in_markup_remain_an_error_with_element_and_byte() {
        for (bytes, at, place) in [
            (&b"<a><b><c\xff/></b></a>"[..], 8, "a/b"),
            (b"<a><b \xff='1'/></a>", 6, "of a"),
            (b"<a><b x='1' \xff/></a>", 12, "of a"),
            (b"<a><b></b\xff></a>", 9, "a/b"),
            (b"<a>\xe9<b xmlns='urn:\xff'/></a>", 18, "of a"),
            (b"<a>&am\xff;</a>", 6, "of a"),
            (b"<\xff/>", 1, "outside"),
        ] {
            match lenient(bytes) {
                Err(XmlError::NotUtf8InMarkup { at: found, place: said }) => {
                    assert_eq!(found, at, "{}", String::from_utf8_lossy(bytes));
                    assert!(said.contains(place), "{said}");
                }
                other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
            }
        }
        for text in
            ["<a><b\u{8}/></a>", "<a><b xmlns='&#8;'/></a>", "<a>&x;</a>", "<a>&#x;</a>", "<a b='&#zz;'/>"]
        {
            assert!(matches!(lenient(text.as_bytes()), Err(XmlError::Malformed { .. })), "{text:?}");
        }
    }

    #[test]
    fn attributes_are_replaced_and_named() {
        let (root, replaced) = lenient(
            b"\xef\xbb\xbf<a xmlns:p='urn:p'><k>1</k><b x='ok' p:y=\"a\xff&#8;&amp;\x01'\xfe\"/></a>",
        )
        .unwrap();
        let b = root.children().nth(1).unwrap();
        assert_eq!(
            (b.attribute("x"), b.attribute_ns("urn:p", "y")),
            (Some("ok"), Some("a\u{fffd}\u{fffd}&\u{fffd}'\u{fffd}"))
        );
        assert_eq!(replaced, [Replaced { path: "a[k='1']/b/@p:y".to_owned(), not_utf8: 2, forbidden: 2 }]);
    }

    #[test]
    fn comments_and_foreign_declarations_do_no_harm() {
        let (root, replaced) =
            lenient(b"<?xml version='1.0' encoding='ISO-8859-1'?><!-- \xff --><a>x<!-- \xff --></a>")
                .unwrap();
        assert_eq!((root.text().as_ref(), replaced.len()), ("x", 0));
    }

    #[test]
    fn replacements_are_bounded() {
        let many = [b"<a>", &b"\xff".repeat(10_001)[..], b"</a>"].concat();
        assert!(matches!(lenient(&many), Err(XmlError::NotUtf8 { .. })));
        let many = format!("<a>{}</a>", "&#8;".repeat(10_001));
        assert!(matches!(lenient(many.as_bytes()), Err(XmlError::TooLarge { .. })));
        let some = format!("<a>{}</a>", "&#8;".repeat(9_000));
        assert_eq!(lenient(some.as_bytes()).unwrap().1[0].forbidden, 9_000);
    }

    #[test]
    fn error_texts_hold_no_control_characters() {
        let error = parse_str("<a><ok></o\0k></a>", &Limits::default()).unwrap_err().to_string();
        assert!(!error.chars().any(char::is_control) && error.contains("\\u{0}"), "{error}");
        assert!(error.contains("inside of a"), "{error}");
    }

    #[test]
    fn replaced_values_equal_no_wanted_value() {
        let (root, _) = lenient(b"<d>Stra\xdfe</d>").unwrap();
        for wanted in ["Straße", "Strae"] {
            let wanted = Element::new("", "d").with_text(wanted);
            assert!(!crate::spelling::same_value(&root, &wanted, crate::spelling::Kinds::default()));
        }
    }

    proptest! {
        #[test]
        fn strict_and_lenient_agree_on_what_is_well_formed(text in "(<a>|</a>|<b x='1'/>|x|&amp;|é|<!-- -->| ){0,12}") {
            let strict = parse(text.as_bytes(), &Limits::default());
            prop_assert_eq!(strict, lenient(text.as_bytes()).map(|(root, replaced)| { assert!(replaced.is_empty()); root }));
        }

        #[test]
        fn never_panics_on_bytes(bytes in proptest::collection::vec(prop_oneof![Just(b'<'), Just(b'>'), Just(b'a'), Just(b'"'), Just(b'='), Just(b'/'), Just(b'&'), Just(b';'), Just(b'#'), any::<u8>()], 0..60)) {
            let _ = lenient(&bytes);
            let _ = lenient(&[b"<a b=\"", &bytes[..], b"\">", &bytes, b"</a>"].concat());
        }
    }
}
