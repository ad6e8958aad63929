use super::*;
use crate::message::Message;
use crate::xml::Limits;

fn part(set_id: Option<&str>, data: &str) -> Reply {
    let set_id = set_id.map(|id| format!("set-id=\"{id}\"")).unwrap_or_default();
    let text = format!(
        "<rpc-reply xmlns=\"{}\" message-id=\"3\" {set_id}><data>{data}</data></rpc-reply>",
        namespace::BASE
    );
    match Message::parse_from_server(text.as_bytes(), &Limits::default()) {
        Ok(Message::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

fn merged(first: &str, second: &str) -> String {
    let mut reply = part(Some("1"), first);
    reply.append(part(None, second)).unwrap();
    assert!(reply.set_id().is_none());
    let data = reply.required_data().unwrap().to_xml();
    let inner = data.strip_prefix(&format!("<data xmlns=\"{}\">", namespace::BASE)).unwrap();
    inner.strip_suffix("</data>").unwrap().to_owned()
}

#[test]
fn parts_are_joined_where_the_document_was_cut() {
    for (first, second, wanted) in [
        // Between two entries of a list.
        (
            "<is xmlns='urn:i'><i><n>1</n></i></is>",
            "<is xmlns='urn:i'><i><n>2</n></i></is>",
            "<i><n>1</n></i><i><n>2</n></i>",
        ),
        // Inside of an entry, whose key is repeated.
        (
            "<is xmlns='urn:i'><i><n>1</n><m>8</m></i></is>",
            "<is xmlns='urn:i'><i><n>1</n><d>x</d></i><i><n>2</n></i></is>",
            "<i><n>1</n><m>8</m><d>x</d></i><i><n>2</n></i>",
        ),
        // Two keys, of which the first is the same.
        (
            "<is xmlns='urn:i'><i><n>1</n><k>a</k></i></is>",
            "<is xmlns='urn:i'><i><n>1</n><k>b</k></i></is>",
            "<i><n>1</n><k>a</k></i><i><n>1</n><k>b</k></i>",
        ),
        // Before the first entry.
        ("<is xmlns='urn:i'/>", "<is xmlns='urn:i'><i><n>2</n></i></is>", "<i><n>2</n></i>"),
        ("<is xmlns='urn:i'><i><n>1</n></i></is>", "<is xmlns='urn:i'/>", "<i><n>1</n></i>"),
    ] {
        assert_eq!(merged(first, second), format!("<is xmlns=\"urn:i\">{wanted}</is>"));
    }
    assert_eq!(
        merged("<a xmlns='urn:a'/>", "<b xmlns='urn:b'/>"),
        "<a xmlns=\"urn:a\"/><b xmlns=\"urn:b\"/>"
    );
    assert_eq!(merged("", "<b xmlns='urn:b'/>"), "<b xmlns=\"urn:b\"/>");
}

#[test]
fn part_that_is_no_data_is_refused() {
    let mut reply = part(Some("1"), "");
    assert!(reply.append(Reply::ok()).unwrap_err().contains("no <data>"));
    let error = RpcError::new(ErrorType::Protocol, ErrorTag::InvalidValue).with_message("set-id has expired");
    assert!(reply.append(Reply::with_errors([error])).unwrap_err().contains("set-id has expired"));
    assert_eq!(reply.set_id(), Some("1"));
    let incomplete = Reply::incomplete("set-id\0 has expired");
    assert!(incomplete.is_error() && incomplete.data().is_none());
    assert!(incomplete.errors()[0].to_string().contains("only a part"));
    assert!(!incomplete.errors()[0].to_string().contains('\0'));
}

#[test]
fn set_id_is_read_with_and_without_namespace() {
    let vendor = format!(
        "<rpc-reply xmlns=\"{}\" xmlns:h=\"{}\" h:set-id=\" 7 \"><data/></rpc-reply>",
        namespace::BASE,
        namespace::HUAWEI_BASE
    );
    let Ok(Message::Reply(reply)) = Message::parse_from_server(vendor.as_bytes(), &Limits::default()) else {
        panic!()
    };
    assert_eq!(reply.set_id(), Some("7"));
    let next = reply.get_next().unwrap();
    assert!(next.element().is(namespace::HUAWEI_BASE, "get-next"));
    assert_eq!(next.element().attribute("set-id"), Some("7"));
    assert!(part(Some(&"9".repeat(300)), "").get_next().is_err());
    assert_eq!(part(Some(""), "").set_id(), None);
}
