use super::*;
use crate::message::{ErrorInfo, ErrorTag, Message};
use crate::xml::Limits;

const NC: &str = r#"xmlns="urn:ietf:params:xml:ns:netconf:base:1.0""#;
const PREFIXED: &str = r#"xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0""#;

fn read(bytes: impl AsRef<[u8]>) -> Reply {
    match Message::parse_from_server(bytes.as_ref(), &Limits::default()) {
        Ok(Message::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// A reply in the base namespace.
fn reply(inner: &str) -> Reply {
    read(format!("<rpc-reply {NC} message-id=\"1\">{inner}</rpc-reply>"))
}

#[test]
fn children_without_namespace_mean_what_their_names_say() {
    let denied = "<rpc-error><error-type>protocol</error-type><error-tag>lock-denied</error-tag>\
                  <error-severity>error</error-severity><error-message>held</error-message>\
                  <error-info><session-id>44</session-id></error-info></rpc-error>";
    let unset = denied.replace("<rpc-error>", "<rpc-error xmlns=\"\">");
    for text in [
        format!("<nc:rpc-reply {PREFIXED} message-id=\"1\">{denied}</nc:rpc-reply>"),
        format!("<rpc-reply {NC} message-id=\"1\">{unset}</rpc-reply>"),
        format!("<rpc-reply message-id=\"1\">{denied}</rpc-reply>"),
    ] {
        let reply = read(&text);
        assert!(reply.is_error() && !reply.has_ok() && !reply.is_ok(), "{text}");
        assert_eq!(
            (&reply.errors()[0].tag, reply.errors()[0].session_id()),
            (&ErrorTag::LockDenied, Some(44))
        );
        assert_eq!(reply.errors()[0].message.as_deref(), Some("held"));
    }
    for text in [
        format!("<nc:rpc-reply {PREFIXED}><ok/></nc:rpc-reply>"),
        format!("<rpc-reply {NC}><ok xmlns=\"\"/></rpc-reply>"),
        "<rpc-reply><ok/></rpc-reply>".to_owned(),
    ] {
        assert!(read(&text).has_ok(), "{text}");
    }
    for text in [
        format!("<nc:rpc-reply {PREFIXED}><data><i xmlns=\"urn:i\"/></data></nc:rpc-reply>"),
        format!("<rpc-reply {NC}><data xmlns=\"\"><i xmlns=\"urn:i\"/></data></rpc-reply>"),
        "<rpc-reply><data><i xmlns=\"urn:i\"/></data></rpc-reply>".to_owned(),
    ] {
        let data = read(&text).required_data().unwrap();
        assert!(data.is(namespace::BASE, "data") && data.child("urn:i", "i").is_some(), "{text}");
    }
}

#[test]
fn answer_without_data_is_an_error() {
    for inner in
        ["", "<ok/>", "<rpc-error><error-severity>warning</error-severity></rpc-error>", "<x xmlns='urn:x'/>"]
    {
        assert_eq!(reply(inner).required_data(), Err(DataError::Missing), "{inner}");
    }
    assert_eq!(reply("<data/>").required_data().unwrap().children().count(), 0);
    let refused = reply("<data/><rpc-error><error-tag>in-use</error-tag></rpc-error>").required_data();
    assert!(matches!(refused, Err(DataError::Refused(_))), "{refused:?}");
    assert!(DataError::Missing.to_string().contains("the reply has no <data>"));
}

#[test]
fn errors_inside_of_results_are_found_with_all_their_words() {
    let reply = reply(
        "<commit-results><rpc-error><error-severity>warning</error-severity>\
         <error-message>licence for feature x is missing</error-message></rpc-error>\
         <rpc-error><error-severity>error</error-severity><source-daemon>l2d</source-daemon>\
         <error-message>unit 200 belongs to no VLAN</error-message></rpc-error></commit-results>",
    );
    assert!(reply.is_error() && !reply.is_ok());
    let [warning, error] = reply.errors() else { panic!("{reply:?}") };
    assert_eq!((warning.severity, error.severity), (Severity::Warning, Severity::Error));
    let daemon = ErrorInfo { name: "source-daemon".to_owned(), value: "l2d".to_owned() };
    assert_eq!((error.error_info(), error.error_type), (vec![daemon], None));
    assert_eq!(error.to_string(), "operation-failed: unit 200 belongs to no VLAN [source-daemon l2d]");
    // Written once, where it stands.
    assert_eq!(reply.to_element(&[]).to_xml().matches("<rpc-error").count(), 2);
    for wrapped in [
        "<load-configuration-results>{}</load-configuration-results>",
        "<commit-results><routing-engine><name>re1</name>{}</routing-engine></commit-results>",
        "<multi-routing-engine-results><multi-routing-engine-item><re-name>re1</re-name><commit-results>{}\
         </commit-results></multi-routing-engine-item></multi-routing-engine-results>",
        "<x:results xmlns:x=\"urn:vendor\"><x:part>{}</x:part></x:results><ok/>",
    ] {
        for error in [
            "<rpc-error><error-message>no</error-message></rpc-error>",
            "<rpc-error xmlns=\"urn:vendor\"><error-message>no</error-message></rpc-error>",
            "<error xmlns=\"http://xml.juniper.net/xnm/1.1/xnm\"><message>no</message></error>",
        ] {
            let reply = self::reply(&wrapped.replace("{}", error));
            assert!(reply.is_error() && !reply.is_ok(), "{wrapped} {error}");
            assert_eq!(reply.errors()[0].message.as_deref(), Some("no"));
        }
    }
}

#[test]
fn errors_of_the_junos_xml_protocol_are_read() {
    let reply = reply(
        "<commit-results><warning xmlns='http://xml.juniper.net/xnm/1.1/xnm'><message>w</message></warning>\
         <error xmlns='http://xml.juniper.net/xnm/1.1/xnm'><source-daemon>dcd</source-daemon>\
         <edit-path>[edit interfaces]</edit-path><message>m</message></error></commit-results>",
    );
    let [warning, error] = reply.errors() else { panic!("{reply:?}") };
    assert_eq!(warning.severity, Severity::Warning);
    assert_eq!((error.path.as_deref(), error.message.as_deref()), (Some("[edit interfaces]"), Some("m")));
    assert_eq!(error.error_info()[0].value, "dcd");
}

#[test]
fn what_is_named_like_an_error_inside_of_data_is_data() {
    for data in ["<data>", "<data xmlns=\"\">", "<x xmlns=\"urn:x\"><data xmlns=\"\">"] {
        let end = if data.contains("<x") { "</data></x>" } else { "</data>" };
        let reply = reply(&format!("{data}<rpc-error><error-tag>in-use</error-tag></rpc-error>{end}"));
        assert!(reply.errors().is_empty(), "{data}");
    }
}

#[test]
fn results_of_junos_are_a_success_without_error() {
    for (inner, is_ok, has_ok) in [
        (
            "<commit-results><routing-engine><name>re0</name><commit-success/></routing-engine></commit-results><ok/>",
            true,
            true,
        ),
        (
            "<commit-results><routing-engine><name>re0</name><commit-success/></routing-engine></commit-results>",
            true,
            false,
        ),
        (
            "<commit-results xmlns=\"http://xml.juniper.net/junos/18.4R1/junos\"><commit-success/></commit-results>",
            true,
            false,
        ),
        ("<load-configuration-results><load-success/></load-configuration-results>", true, false),
        ("<load-configuration-results><ok/></load-configuration-results>", true, false),
        (
            "<load-configuration-results><load-error-count>0</load-error-count></load-configuration-results>",
            true,
            false,
        ),
        (
            "<load-configuration-results><load-error-count>1</load-error-count></load-configuration-results>",
            false,
            false,
        ),
        (
            "<commit-results><rpc-error><error-severity>warning</error-severity></rpc-error></commit-results>",
            true,
            false,
        ),
        ("<other-results><commit-success/></other-results>", false, false),
        ("<ok/>", true, true),
        ("", false, false),
    ] {
        let reply = reply(inner);
        assert_eq!((reply.is_ok(), reply.has_ok()), (is_ok, has_ok), "{inner}");
        assert!(!reply.is_warnings_only(), "{inner}");
    }
}

#[test]
fn warnings_alone_are_neither_ok_nor_an_error() {
    let warning =
        "<rpc-error><error-severity>warning</error-severity><error-message>w</error-message></rpc-error>";
    let alone = reply(warning);
    assert!(alone.is_warnings_only() && !alone.is_ok() && !alone.is_error());
    assert!(!reply(&format!("{warning}<ok/>")).is_warnings_only());
    assert!(!reply(&format!("{warning}<rpc-error/>")).is_warnings_only());
    assert!(!reply(&format!("{warning}<data/>")).is_warnings_only());
}

#[test]
fn error_info_is_kept_and_bounded() {
    let reply = reply(
        "<rpc-error><error-type>protocol</error-type><error-tag>unknown-namespace</error-tag><error-info>\
         <bad-element>encapsulaton</bad-element><bad-namespace>urn:x</bad-namespace>\
         <nested xmlns=\"urn:v\"><line-number>3</line-number></nested></error-info></rpc-error>",
    );
    let error = &reply.errors()[0];
    assert_eq!(error.bad_element().as_deref(), Some("encapsulaton"));
    let names: Vec<String> = error.error_info().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["bad-element", "bad-namespace", "line-number"]);
    let many = format!("<rpc-error>{}</rpc-error>", "<a><b/>x</a>".repeat(1_000));
    let info = self::reply(&many).errors()[0].error_info();
    assert!(info.len() <= 16, "{}", info.len());
    let long = format!("<rpc-error><source-daemon>{}</source-daemon></rpc-error>", "x".repeat(10_000));
    assert!(self::reply(&long).errors()[0].error_info()[0].value.chars().count() <= 257);
}

#[test]
fn bytes_that_are_no_text_are_replaced_in_values_and_listed() {
    let text = |value: &[u8]| {
        let mut bytes =
            format!("<rpc-reply {NC} message-id=\"3\"><data><i xmlns=\"urn:t\"><n>1</n><description>")
                .into_bytes();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"</description></i></data></rpc-reply>");
        bytes
    };
    for (value, wanted, says) in [
        (&b"Stra\xdfe 5"[..], "Stra\u{fffd}e 5", "bytes that are not UTF-8 (1 "),
        (b"up\x08link", "up\u{fffd}link", "control characters that XML forbids (1 "),
        (b"up&#8;link", "up\u{fffd}link", "control characters that XML forbids (1 "),
        (
            b"a&#x0;b&#xD800;\xc3(\x00",
            "a\u{fffd}b\u{fffd}\u{fffd}(\u{fffd}",
            "bytes that are not UTF-8 and control characters (4 ",
        ),
        (b"<![CDATA[a\xff]]>", "a\u{fffd}", "bytes that are not UTF-8 (1 "),
    ] {
        let reply = read(text(value));
        let [replaced] = reply.replaced() else { panic!("{:?}", reply.replaced()) };
        assert_eq!(replaced.path, "i[n='1']/description");
        assert!(replaced.to_string().contains(says), "{replaced}");
        let data = reply.required_data().unwrap();
        assert_eq!(data.child("urn:t", "i").unwrap().child_text("urn:t", "description").unwrap(), wanted);
    }
    // Sent as UTF-8 by the device itself, it is a character like others.
    assert!(read(text("a\u{fffd}".as_bytes())).replaced().is_empty());
    let entry = |n| format!("</description></i><i><n>{n}</n><description>").into_bytes();
    let many: Vec<u8> = (2..100).flat_map(|n| [entry(n), vec![0xff]].concat()).collect();
    assert_eq!(read(text(&many)).replaced().len(), 20);
}
