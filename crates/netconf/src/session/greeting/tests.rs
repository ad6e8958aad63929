use proptest::prelude::*;

use super::*;

const HELLO_TEXT: &str = "<hello xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><capabilities><capability>\
                          urn:ietf:params:netconf:base:1.0</capability></capabilities><session-id>5</session-id></hello>";

/// Hands the text over in parts of `size`.
fn greet(bytes: &[u8], size: usize) -> (Greeting, Result<Option<Greeted>, ProtocolError>) {
    let mut greeting = Greeting::default();
    for part in bytes.chunks(size) {
        greeting.push(part);
        match greeting.next(&Limits::default()) {
            Ok(None) => {}
            done => return (greeting, done),
        }
    }
    (greeting, Ok(None))
}

#[test]
fn text_before_hello_is_skipped() {
    for preamble in [
        "",
        "\r\n\r\n",
        "\n <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "Unauthorized access is prohibited! Permission denied to all but us.\r\n<?xml version='1.0'?>",
        "warning: <b> & other markup\n<hello world>\n",
        "load: 5 < 6, use <hello",
        "<rpc-reply><rpc-error><error-severity>warning</error-severity><error-message>old</error-message></rpc-error></rpc-reply>",
        "welcome]]>]]>",
    ] {
        for size in [1, 7, 10_000] {
            let bytes = format!("{preamble}{HELLO_TEXT}]]>]]>rest");
            let (greeting, greeted) = greet(bytes.as_bytes(), size);
            let greeted =
                greeted.unwrap_or_else(|e| panic!("{preamble}: {e}")).unwrap_or_else(|| panic!("{preamble}"));
            assert_eq!(greeted.hello.session_id, Some(5), "{preamble}");
            assert!("rest".as_bytes().starts_with(&greeted.rest), "{:?}", greeted.rest);
            assert!(greeting.said().is_none_or(|said| !said.contains("capabilit")), "{:?}", greeting.said());
        }
    }
}

#[test]
fn text_between_hello_and_its_delimiter_is_skipped() {
    let bytes = format!("{HELLO_TEXT}\r\nwelcome\r\n]]>]]>");
    assert!(greet(bytes.as_bytes(), 3).1.unwrap().is_some());
}

#[test]
fn restricted_session_is_refused_in_the_words_of_the_device() {
    let junos = "warning: user \"nbi\" does not have access privileges.\nerror: Restricted user session.\n\
                 <rpc-reply><rpc-error><error-type>protocol</error-type><error-severity>error</error-severity>\
                 <error-message>Restricted user session.</error-message></rpc-error></rpc-reply>\n";
    let prefixed = "<nc:rpc-reply xmlns:nc=\"urn:x\"><nc:rpc-error>\n<nc:error-message>No licence.</nc:error-message></nc:rpc-error></nc:rpc-reply>";
    for (preamble, words) in [
        (junos, "warning: user \"nbi\" does not have access privileges. error: Restricted user session."),
        ("error: Restricted user session.\n", "error: Restricted user session."),
        (prefixed, "No licence."),
    ] {
        for (end, size) in [("]]>]]>", 1), ("", 1_000)] {
            let bytes = format!("{preamble}{end}{HELLO_TEXT}]]>]]>");
            match greet(bytes.as_bytes(), size).1 {
                Err(ProtocolError::Restricted { words: found }) => {
                    assert!(found.starts_with(words), "{found}")
                }
                other => panic!("{preamble}: {other:?}"),
            }
        }
        // No hello follows.
        let (greeting, pending) = greet(preamble.as_bytes(), 5);
        assert!(pending.unwrap().is_none());
        assert!(greeting.refused().is_some_and(|found| found.starts_with(words)), "{:?}", greeting.refused());
    }
    let (greeting, _) = greet(b"% Permission denied\r\n", 5);
    assert_eq!(greeting.refused().as_deref(), Some("% Permission denied"));
    let (greeting, _) = greet(b"router> ", 5);
    assert_eq!((greeting.refused(), greeting.said().as_deref()), (None, Some("router>")));
}

#[test]
fn what_is_no_netconf_is_named_with_its_first_words() {
    let (_, result) = greet(&b"<html>\x1b[1mIt works\0 ".repeat(10_000), 1_000);
    match result {
        Err(ProtocolError::NoHello { words }) => {
            assert!(words.starts_with("\\u{1b}[1mIt works\\u{0}"), "{words}");
            assert!(words.chars().count() <= MAX_WORDS + 20, "{words}");
        }
        other => panic!("{other:?}"),
    }
    let (greeting, pending) = greet(b"<html/>]]>]]>", 2);
    assert!(pending.unwrap().is_none() && greeting.has_other_message());
    let (greeting, _) = greet(b"<hello xmlns='urn:x", 2);
    assert!(!greeting.has_other_message());
}

#[test]
fn hello_has_a_bound() {
    let limits = Limits { max_bytes: 1_000, ..Limits::default() };
    let mut greeting = Greeting::default();
    greeting.push(format!("<hello>{}", "x".repeat(2_000)).as_bytes());
    assert!(matches!(greeting.next(&limits), Err(ProtocolError::Framing(_))));
}

proptest! {
    #[test]
    fn any_split_gives_the_same(preamble in "(<|/|hello|nc:|>|rpc-error|]]>]]>| |a|<hello>){0,20}", size in 1_usize..40) {
        let bytes = format!("{preamble}{HELLO_TEXT}]]>]]>x");
        let whole = greet(bytes.as_bytes(), bytes.len()).1.map(|greeted| greeted.map(|g| g.hello)).map_err(|e| e.to_string());
        let split = greet(bytes.as_bytes(), size).1.map(|greeted| greeted.map(|g| g.hello)).map_err(|e| e.to_string());
        prop_assert_eq!(whole.is_ok(), split.is_ok());
        if let (Ok(whole), Ok(split)) = (whole, split) {
            prop_assert_eq!(whole, split);
        }
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1_usize..40) {
        let _ = greet(&bytes, size);
    }
}
