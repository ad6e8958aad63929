//! The server's side.

use super::ProtocolError;
use super::client::document;
use crate::capability::Capabilities;
use crate::framing::{Decoder, Framing};
use crate::message::{ErrorTag, ErrorType, Hello, Message, MessageError, Reply, Rpc, RpcError};
use crate::xml::{Attribute, Element, Limits};

/// A request of the client, or the answer that is due to what can't be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A request to be carried out.
    Rpc(Rpc),
    /// A message that isn't acceptable but can be answered.
    Faulty {
        /// The attributes of `rpc`.
        attributes: Vec<Attribute>,
        /// What is wrong with it.
        error: RpcError,
    },
}

/// A server session: send [`ServerSession::hello`], hand received bytes to [`ServerSession::receive`], take
/// requests and encode their replies in the same order.
#[derive(Debug)]
pub struct ServerSession {
    decoder: Decoder,
    limits: Limits,
    hello: Hello,
    established: bool,
}

impl ServerSession {
    /// A session with these capabilities and this number. `limits` hold for every message of the client.
    pub fn new(capabilities: Capabilities, session_id: u32, limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(limits.max_bytes),
            limits,
            hello: Hello { capabilities, session_id: Some(session_id) },
            established: false,
        }
    }

    /// The bytes of the server's hello, to be sent at once.
    pub fn hello(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        Framing::EndOfMessage.encode(document(&self.hello.to_element()).as_bytes(), &mut bytes);
        bytes
    }

    /// Hands over received bytes.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        Ok(self.decoder.push(bytes)?)
    }

    /// The next request, or `None` if more bytes are needed. The client's hello is dealt with inside.
    pub fn next_request(&mut self) -> Result<Option<Request>, ProtocolError> {
        loop {
            let Some(bytes) = self.decoder.next_message()? else { return Ok(None) };
            let message = match Message::parse(&bytes, &self.limits) {
                Ok(message) => message,
                Err(error @ MessageError::NotNetconf { .. }) if self.established => {
                    let error = RpcError::new(ErrorType::Rpc, ErrorTag::MalformedMessage)
                        .with_message(error.to_string());
                    return Ok(Some(Request::Faulty { attributes: Vec::new(), error }));
                }
                Err(error) => return Err(error.into()),
            };
            match (message, self.established) {
                (Message::Hello(hello), false) => self.establish(&hello)?,
                (Message::Rpc(rpc), true) if rpc.message_id().is_none() => {
                    let info = ["bad-attribute", "bad-element"].map(Element::base);
                    let [attribute, element] = info;
                    let error = RpcError::new(ErrorType::Rpc, ErrorTag::MissingAttribute)
                        .with_info([attribute.with_text("message-id"), element.with_text("rpc")]);
                    return Ok(Some(Request::Faulty { attributes: rpc.attributes, error }));
                }
                (Message::Rpc(rpc), true) => return Ok(Some(Request::Rpc(rpc))),
                (_, true) => {
                    return Err(ProtocolError::OutOfOrder { got: "another message", expected: "a request" });
                }
                (_, false) => {
                    return Err(ProtocolError::OutOfOrder { got: "another message", expected: "hello" });
                }
            }
        }
    }

    fn establish(&mut self, client: &Hello) -> Result<(), ProtocolError> {
        let ours = &self.hello.capabilities;
        if ours.base_1_1() && client.capabilities.base_1_1() {
            self.decoder.set_framing(Framing::Chunked);
        } else if !(ours.base_1_0() && client.capabilities.base_1_0()) {
            return Err(ProtocolError::NoCommonBase);
        }
        self.established = true;
        Ok(())
    }

    /// Whether the client's hello has come.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// The framing agreed.
    pub fn framing(&self) -> Framing {
        self.decoder.framing()
    }
}

/// Appends a reply with its framing to `out`; `attributes` are those of the request's `rpc`.
pub(crate) fn encode_reply(reply: &Reply, attributes: &[Attribute], framing: Framing, out: &mut Vec<u8>) {
    framing.encode(document(&reply.to_element(attributes)).as_bytes(), out);
}
