use proptest::prelude::*;

use super::*;
use crate::xml::parse_str;

fn message(text: &str) -> Result<Message, MessageError> {
    Message::parse(text.as_bytes(), &Limits::default())
}

fn reply(inner: &str) -> Reply {
    let text = format!(
        r#"<nc:rpc-reply xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="1">{inner}</nc:rpc-reply>"#
    );
    match message(&text) {
        Ok(Message::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hello_is_read_liberally() {
    for text in [
        r#"<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><capabilities><capability>urn:ietf:params:netconf:base:1.0</capability></capabilities><session-id>4</session-id></hello>"#,
        "<hello><capabilities><capability>\n urn:ietf:params:netconf:base:1.0 \n</capability></capabilities><session-id> 4 </session-id></hello>",
        r#"<x:hello xmlns:x="urn:ietf:params:xml:ns:netconf:base:1.0"><x:capabilities><capability xmlns="urn:odd">urn:ietf:params:xml:ns:netconf:base:1.0</capability></x:capabilities><x:session-id>4</x:session-id></x:hello>"#,
    ] {
        let Ok(Message::Hello(hello)) = message(text) else { panic!("{text}") };
        assert!(hello.capabilities.base_1_0());
        assert_eq!(hello.session_id, Some(4));
        let again = message(&hello.to_element().to_xml()).unwrap();
        assert_eq!(again, Message::Hello(hello));
    }
    for text in
        ["<hello/>", "<hello><capabilities/><session-id>x</session-id></hello>", "<goodbye/>", "<rpc/>"]
    {
        assert!(matches!(message(text), Err(MessageError::NotNetconf { .. })), "{text}");
    }
}

#[test]
fn all_errors_are_kept_and_those_in_data_are_data() {
    let reply = reply(
        r#"<nc:rpc-error><nc:error-type>application</nc:error-type><nc:error-tag>bad-element</nc:error-tag>
            <nc:error-severity>error</nc:error-severity><nc:error-app-tag>pattern-violation</nc:error-app-tag>
            <nc:error-path xmlns:if="urn:if">/if:a[if:b='1']</nc:error-path>
            <nc:error-message xml:lang="en">  not this  </nc:error-message>
            <nc:error-info><nc:bad-element>b</nc:bad-element><own xmlns="urn:own">1</own></nc:error-info></nc:rpc-error>
           <nc:rpc-error><nc:error-message>nothing else</nc:error-message></nc:rpc-error>
           <nc:rpc-error><nc:error-type>strange</nc:error-type><nc:error-tag>very-strange</nc:error-tag><nc:error-severity>warning</nc:error-severity></nc:rpc-error>"#,
    );
    let [first, second, third] = reply.errors() else { panic!("{reply:?}") };
    assert_eq!(first.error_type, Some(ErrorType::Application));
    assert_eq!(first.tag, ErrorTag::BadElement);
    assert_eq!(first.app_tag.as_deref(), Some("pattern-violation"));
    assert_eq!(first.path.as_deref(), Some("/if:a[if:b='1']"));
    assert_eq!(first.message.as_deref(), Some("not this"));
    assert_eq!(first.info.as_ref().unwrap().child_text("urn:own", "own").unwrap(), "1");
    assert_eq!(
        (second.error_type, &second.tag, second.severity),
        (None, &ErrorTag::OperationFailed, Severity::Error)
    );
    assert_eq!((third.error_type, third.severity), (None, Severity::Warning));
    assert_eq!(third.tag, ErrorTag::Other("very-strange".to_owned()));
    assert!(reply.is_error() && !reply.is_ok());
    assert_eq!(reply.warnings().count(), 1);
    assert_eq!(
        reply.into_result().unwrap_err().to_string(),
        "bad-element (pattern-violation) at /if:a[if:b='1']: not this [bad-element b] [own 1]; operation-failed: nothing else; \
         warning: very-strange"
    );

    let data =
        self::reply("<nc:data><nc:rpc-error><nc:error-tag>in-use</nc:error-tag></nc:rpc-error></nc:data>");
    assert!(data.errors().is_empty() && !data.is_error());
    assert_eq!(data.data().unwrap().children().count(), 1);
    assert!(data.into_result().is_ok());
}

#[test]
fn a_warning_is_no_failure() {
    let reply = reply("<nc:ok/><nc:rpc-error><nc:error-severity>warning</nc:error-severity></nc:rpc-error>");
    assert!(reply.is_ok() && reply.clone().into_result().is_ok());
    assert_eq!(reply.warnings().count(), 1);
}

#[test]
fn an_ok_elsewhere_is_not_ok() {
    assert!(!reply(r#"<ok xmlns="urn:other"/>"#).is_ok());
    assert!(!reply("<nc:data><nc:ok/></nc:data>").is_ok());
    assert!(!reply("").is_ok());
}

#[test]
fn requests_have_one_operation_and_replies_repeat_their_attributes() {
    let text = r#"<rpc xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="a&amp;b" xmlns:x="urn:x" x:y="z"><get/></rpc>"#;
    let Ok(Message::Rpc(rpc)) = message(text) else { panic!() };
    assert_eq!(rpc.message_id(), Some("a&b"));
    assert!(rpc.operation.is(namespace::BASE, "get"));
    let reply = Reply::ok().to_element(&rpc.attributes);
    assert_eq!(reply.attribute("message-id"), Some("a&b"));
    assert_eq!(reply.attribute_ns("urn:x", "y"), Some("z"));
    for inner in ["", "<get/><get/>", "text"] {
        let text =
            format!(r#"<rpc xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="1">{inner}</rpc>"#);
        assert!(matches!(message(&text), Err(MessageError::NotNetconf { .. })), "{inner}");
    }
}

#[test]
fn errors_read_back_as_written() {
    let error = RpcError::new(ErrorType::Application, ErrorTag::InvalidValue)
        .with_app_tag("must-violation")
        .with_path("/a:b")
        .with_message("<no>")
        .with_info([Element::new("urn:own", "x").with_text("1")]);
    for error in
        [error, RpcError::lock_denied(3), RpcError::new(ErrorType::Rpc, ErrorTag::TooBig).as_warning()]
    {
        let text = Reply::with_errors([error.clone()]).to_element(&[]).to_xml();
        let read = Reply::from_element(parse_str(&text, &Limits::default()).unwrap()).unwrap();
        assert_eq!(read.errors(), [error]);
    }
    assert_eq!(RpcError::lock_denied(3).session_id(), Some(3));
}

proptest! {
    #[test]
    fn never_panics(inner in "(<rpc-error>|</rpc-error>|<error-tag>|</error-tag>|<ok/>|<data>|</data>|x|<capabilities>|</capabilities>){0,12}") {
        for root in ["hello", "rpc", "rpc-reply"] {
            let _ = message(&format!(r#"<{root} xmlns="urn:ietf:params:xml:ns:netconf:base:1.0">{inner}</{root}>"#));
        }
    }
}
