//! The client's side.

use std::collections::VecDeque;

use super::ProtocolError;
use super::greeting::Greeting;
use crate::capability::{BASE_1_0, BASE_1_1, Capabilities};
use crate::framing::{Decoder, Framing};
use crate::message::{Hello, Message, Reply};
use crate::operation::Operation;
use crate::xml::{Attribute, Element, Limits};

/// What happened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server's hello; requests may be sent now.
    Established,
    /// The answer to the oldest request without answer.
    Reply {
        /// The request's message-id.
        message_id: u64,
        /// The answer.
        reply: Reply,
    },
    /// An event (RFC 5277).
    Notification(Element),
}

/// A client session: send [`ClientSession::hello`], hand received bytes to [`ClientSession::receive`], take
/// events until there are none, and after [`Event::Established`] encode requests.
///
/// RFC 6241 §4.5 has servers answer in order, so a reply must bear the message-id of the oldest request. A
/// reply without message-id (§4.3 allows it for requests the server couldn't read) counts as its answer.
#[derive(Debug)]
pub struct ClientSession {
    /// Until hello is there.
    greeting: Greeting,
    decoder: Decoder,
    limits: Limits,
    offer_base_1_1: bool,
    server: Option<Hello>,
    next_message_id: u64,
    waiting: VecDeque<u64>,
    /// Bytes of all messages since hello.
    message_bytes: u64,
}

impl ClientSession {
    /// A session that offers base:1.0 and, if `offer_base_1_1`, base:1.1. `limits` hold for every message
    /// from the server.
    pub fn new(limits: Limits, offer_base_1_1: bool) -> Self {
        Self {
            greeting: Greeting::default(),
            decoder: Decoder::new(limits.max_bytes),
            limits,
            offer_base_1_1,
            server: None,
            next_message_id: 1,
            waiting: VecDeque::new(),
            message_bytes: 0,
        }
    }

    /// The bytes of our hello, to be sent at once when the transport is up (RFC 6241 §8.1).
    pub fn hello(&self) -> Vec<u8> {
        let bases: &[&str] = if self.offer_base_1_1 { &[BASE_1_0, BASE_1_1] } else { &[BASE_1_0] };
        let hello = Hello { capabilities: Capabilities::new(bases), session_id: None };
        let mut bytes = Vec::new();
        Framing::EndOfMessage.encode(document(&hello.to_element()).as_bytes(), &mut bytes);
        bytes
    }

    /// Hands over received bytes.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        if self.server.is_none() {
            self.greeting.push(bytes);
            return Ok(());
        }
        Ok(self.decoder.push(bytes)?)
    }

    /// The next event, or `None` if more bytes are needed.
    pub fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        if self.server.is_none() {
            let Some(greeted) = self.greeting.next(&self.limits)? else { return Ok(None) };
            let event = self.established(greeted.hello)?;
            self.decoder.push(&greeted.rest)?;
            return Ok(Some(event));
        }
        let Some(bytes) = self.decoder.next_message()? else { return Ok(None) };
        self.message_bytes = self.message_bytes.saturating_add(bytes.len() as u64);
        let event = match Message::parse_from_server(&bytes, &self.limits)? {
            Message::Hello(_) => return Err(out_of_order("a second hello", "a reply")),
            Message::Reply(reply) => self.answered(reply)?,
            Message::Notification(notification) => Event::Notification(notification),
            Message::Rpc(_) => return Err(out_of_order("a request", "a message of a server")),
        };
        Ok(Some(event))
    }

    /// The beginning of what the server sent before its hello, cleaned; `None` if nothing came.
    pub fn said_before_hello(&self) -> Option<String> {
        self.greeting.said()
    }

    /// The server's words if what it sent instead of hello refuses a session.
    pub fn refused_before_hello(&self) -> Option<String> {
        self.greeting.refused()
    }

    /// The words of a text beside the protocol if they refuse a session.
    pub(crate) fn refusal_in(text: &[u8]) -> Option<String> {
        let mut greeting = Greeting::default();
        greeting.push(text);
        greeting.refused()
    }

    /// Whether a message has ended before any hello began.
    pub fn has_other_message_before_hello(&self) -> bool {
        self.greeting.has_other_message()
    }

    /// The bounds of every message.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of all messages received since hello, without framing.
    pub(crate) fn message_bytes(&self) -> u64 {
        self.message_bytes
    }

    fn established(&mut self, hello: Hello) -> Result<Event, ProtocolError> {
        if hello.session_id.is_none() {
            return Err(ProtocolError::NoSessionId);
        }
        if self.offer_base_1_1 && hello.capabilities.base_1_1() {
            self.decoder.set_framing(Framing::Chunked);
        } else if !hello.capabilities.base_1_0() {
            return Err(ProtocolError::NoCommonBase);
        }
        self.server = Some(hello);
        Ok(Event::Established)
    }

    fn answered(&mut self, reply: Reply) -> Result<Event, ProtocolError> {
        let expected = self.waiting.front().copied();
        let matches = |due: u64| match reply.message_id() {
            Some(id) => id.trim() == due.to_string(),
            None => true,
        };
        match expected {
            Some(due) if matches(due) => {
                self.waiting.pop_front();
                Ok(Event::Reply { message_id: due, reply })
            }
            _ => {
                let got = reply.message_id().map(|id| id.chars().take(80).collect());
                Err(ProtocolError::UnexpectedReply { got, expected })
            }
        }
    }

    /// Appends a request with its framing to `out` and returns its message-id. Several requests may be
    /// appended and sent in one write (pipelining, RFC 6241 §4.5). To be called after
    /// [`Event::Established`] only, since the framing is unknown before.
    pub fn request(&mut self, operation: &Operation, out: &mut Vec<u8>) -> u64 {
        let message_id = self.next_message_id;
        self.next_message_id += 1;
        self.waiting.push_back(message_id);
        let mut text = String::with_capacity(512);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><rpc xmlns=\"");
        text.push_str(crate::namespace::BASE);
        text.push_str("\" message-id=\"");
        text.push_str(&message_id.to_string());
        text.push('"');
        for (at, attribute) in operation.rpc_attributes().iter().enumerate() {
            write_rpc_attribute(at, attribute, &mut text);
        }
        text.push('>');
        operation.element().write_xml(&mut text);
        text.push_str("</rpc>");
        self.decoder.framing().encode(text.as_bytes(), out);
        message_id
    }

    /// The server's capabilities; empty before hello.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.server.as_ref().map(|hello| &hello.capabilities)
    }

    /// The server's number for this session (for `kill-session`, and to recognise it in `lock-denied`).
    pub fn session_id(&self) -> Option<u32> {
        self.server.as_ref().and_then(|hello| hello.session_id)
    }

    /// The framing agreed.
    pub fn framing(&self) -> Framing {
        self.decoder.framing()
    }

    /// Requests that wait for their answers.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// Appends an attribute of `<rpc>`; `at`: its place, from which its prefix is made.
fn write_rpc_attribute(at: usize, attribute: &Attribute, text: &mut String) {
    let name = &attribute.name;
    // The value of an attribute is written as an element's would be, quotes included.
    let escaped = |value: &str| {
        value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\n', "&#10;")
    };
    let value = escaped(&attribute.value);
    if attribute.namespace.is_empty() {
        text.push_str(&format!(" {name}=\"{value}\""));
    } else {
        let namespace = escaped(&attribute.namespace);
        text.push_str(&format!(" xmlns:a{at}=\"{namespace}\" a{at}:{name}=\"{value}\""));
    }
}

/// A message as an XML document.
pub(super) fn document(root: &Element) -> String {
    let mut text = String::with_capacity(512);
    text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    root.write_xml(&mut text);
    text
}

fn out_of_order(got: &'static str, expected: &'static str) -> ProtocolError {
    ProtocolError::OutOfOrder { got, expected }
}
