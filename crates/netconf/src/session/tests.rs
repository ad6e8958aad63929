use proptest::prelude::*;

use super::*;
use crate::capability::{BASE_1_0, BASE_1_1, Capabilities};
use crate::framing::Framing;
use crate::message::{ErrorTag, Reply};
use crate::operation::Operation;
use crate::xml::{Element, Limits};

fn pair(server_bases: &[&str], offer_base_1_1: bool) -> (ClientSession, ServerSession) {
    let server = ServerSession::new(Capabilities::new(server_bases), 5, Limits::default());
    (ClientSession::new(Limits::default(), offer_base_1_1), server)
}

/// Hands `bytes` over in parts of `size`, taking events in between.
fn feed_client(client: &mut ClientSession, bytes: &[u8], size: usize) -> Result<Vec<Event>, ProtocolError> {
    let mut events = Vec::new();
    for part in bytes.chunks(size) {
        client.receive(part)?;
        while let Some(event) = client.next_event()? {
            events.push(event);
        }
    }
    Ok(events)
}

fn feed_server(server: &mut ServerSession, bytes: &[u8], size: usize) -> Result<Vec<Request>, ProtocolError> {
    let mut requests = Vec::new();
    for part in bytes.chunks(size) {
        server.receive(part)?;
        while let Some(request) = server.next_request()? {
            requests.push(request);
        }
    }
    Ok(requests)
}

fn established(server_bases: &[&str], offer_base_1_1: bool) -> (ClientSession, ServerSession) {
    let (mut client, mut server) = pair(server_bases, offer_base_1_1);
    let (from_client, from_server) = (client.hello(), server.hello());
    assert_eq!(feed_server(&mut server, &from_client, 10).unwrap(), []);
    assert_eq!(feed_client(&mut client, &from_server, 10).unwrap(), [Event::Established]);
    assert!(server.is_established());
    assert_eq!(client.session_id(), Some(5));
    assert_eq!(client.framing(), server.framing());
    (client, server)
}

#[test]
fn both_sides_choose_the_same_framing() {
    for (bases, offer, framing) in [
        (&[BASE_1_0, BASE_1_1][..], true, Framing::Chunked),
        (&[BASE_1_1], true, Framing::Chunked),
        (&[BASE_1_0], true, Framing::EndOfMessage),
        (&[BASE_1_0, BASE_1_1], false, Framing::EndOfMessage),
    ] {
        assert_eq!(established(bases, offer).0.framing(), framing);
    }
    let (mut client, mut server) = pair(&[BASE_1_1], false);
    let (from_client, from_server) = (client.hello(), server.hello());
    assert_eq!(feed_server(&mut server, &from_client, 99), Err(ProtocolError::NoCommonBase));
    assert_eq!(feed_client(&mut client, &from_server, 99), Err(ProtocolError::NoCommonBase));
}

fn frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Framing::EndOfMessage.encode(text.as_bytes(), &mut bytes);
    bytes
}

const NC: &str = "xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"";

#[test]
fn the_client_holds_to_order() {
    let reply = |id: &str| frame(&format!("<rpc-reply {NC} {id}><ok/></rpc-reply>"));
    // Before hello it is text like other text, and without a question an error.
    let (mut client, server) = pair(&[BASE_1_0], true);
    let bytes = [reply(""), server.hello()].concat();
    assert_eq!(feed_client(&mut client, &bytes, 99).unwrap(), [Event::Established]);
    let (mut client, server) = established(&[BASE_1_0], true);
    assert!(matches!(feed_client(&mut client, &server.hello(), 99), Err(ProtocolError::OutOfOrder { .. })));
    let (mut client, _) = established(&[BASE_1_0], true);
    let unexpected = ProtocolError::UnexpectedReply { got: Some("1".to_owned()), expected: None };
    assert_eq!(feed_client(&mut client, &reply("message-id='1'"), 99), Err(unexpected));

    let (mut client, _) = established(&[BASE_1_0], true);
    let mut out = Vec::new();
    assert_eq!(
        (client.request(&Operation::commit(), &mut out), client.request(&Operation::commit(), &mut out)),
        (1, 2)
    );
    assert_eq!(client.waiting(), 2);
    // A reply without message-id is for the oldest request.
    let bytes = [reply(""), reply("message-id=' 2 '")].concat();
    let events = feed_client(&mut client, &bytes, 7).unwrap();
    assert!(matches!(events[..], [Event::Reply { message_id: 1, .. }, Event::Reply { message_id: 2, .. }]));

    let (mut client, _) = established(&[BASE_1_0], true);
    client.request(&Operation::commit(), &mut out);
    client.request(&Operation::commit(), &mut out);
    let swapped = ProtocolError::UnexpectedReply { got: Some("2".to_owned()), expected: Some(1) };
    assert_eq!(feed_client(&mut client, &reply("message-id='2'"), 99), Err(swapped));
}

#[test]
fn notifications_come_between_replies() {
    let (mut client, _) = established(&[BASE_1_0], true);
    client.request(&Operation::commit(), &mut Vec::new());
    let event =
        "<notification xmlns='urn:ietf:params:xml:ns:netconf:notification:1.0'><eventTime/></notification>";
    let bytes = [frame(event), frame(&format!("<rpc-reply {NC} message-id='1'><ok/></rpc-reply>"))].concat();
    let events = feed_client(&mut client, &bytes, 5).unwrap();
    assert!(matches!(events[..], [Event::Notification(_), Event::Reply { .. }]));
}

#[test]
fn a_hello_without_session_id_is_refused() {
    let (mut client, _) = pair(&[BASE_1_0], true);
    let hello =
        format!("<hello {NC}><capabilities><capability>{BASE_1_0}</capability></capabilities></hello>");
    assert_eq!(feed_client(&mut client, &frame(&hello), 99), Err(ProtocolError::NoSessionId));
}

#[test]
fn the_server_answers_what_it_can_and_ends_what_it_cannot() {
    let (_, mut server) = established(&[BASE_1_0], true);
    let requests = [
        frame(&format!("<rpc {NC}><commit/></rpc>")),
        frame(&format!("<rpc {NC} message-id='1'/>")),
        frame(&format!("<rpc {NC} message-id='2'><commit/></rpc>")),
    ]
    .concat();
    let requests = feed_server(&mut server, &requests, 3).unwrap();
    let tags: Vec<_> = requests
        .iter()
        .map(|request| match request {
            Request::Faulty { error, .. } => Some(error.tag.clone()),
            Request::Rpc(_) => None,
        })
        .collect();
    assert_eq!(tags, [Some(ErrorTag::MissingAttribute), Some(ErrorTag::MalformedMessage), None]);
    assert!(feed_server(&mut server, &frame("<rpc"), 99).is_err());
    let (_, mut server) = pair(&[BASE_1_0], true);
    let early = frame(&format!("<rpc {NC} message-id='2'><commit/></rpc>"));
    assert!(matches!(feed_server(&mut server, &early, 99), Err(ProtocolError::OutOfOrder { .. })));
}

proptest! {
    #[test]
    fn a_conversation_survives_any_split(
        chunked in any::<bool>(),
        texts in prop::collection::vec("[ -~\n]{0,30}[!-~]", 1..6),
        size in 1_usize..200,
    ) {
        let bases = if chunked { &[BASE_1_0, BASE_1_1][..] } else { &[BASE_1_0] };
        let (mut client, mut server) = established(bases, true);
        let mut out = Vec::new();
        let echo = |text: &String| Element::new("urn:e", "echo").with_text(text.as_str());
        for text in &texts {
            client.request(&Operation::new(echo(text)), &mut out);
        }
        let mut back = Vec::new();
        for request in feed_server(&mut server, &out, size).unwrap() {
            let Request::Rpc(rpc) = request else { panic!() };
            encode_reply(&Reply::with_data([rpc.operation]), &rpc.attributes, server.framing(), &mut back);
        }
        let events = feed_client(&mut client, &back, size).unwrap();
        prop_assert_eq!(events.len(), texts.len());
        for (event, text) in events.into_iter().zip(&texts) {
            let Event::Reply { reply, .. } = event else { panic!() };
            prop_assert_eq!(reply.data().unwrap().children().next().unwrap(), &echo(text));
        }
        prop_assert_eq!(client.waiting(), 0);
    }

    #[test]
    fn no_bytes_make_either_side_panic(bytes in "(<rpc|-reply|<hello>|</hello>|\n#|\n##\n|[0-9]|\\]\\]>\\]\\]>|>|/>| |x|message-id='1'){0,30}", size in 1_usize..50) {
        for bases in [&[BASE_1_0, BASE_1_1][..], &[BASE_1_0]] {
            let (mut client, mut server) = established(bases, true);
            let _ = feed_client(&mut client, bytes.as_bytes(), size);
            let _ = feed_server(&mut server, bytes.as_bytes(), size);
        }
    }
}
