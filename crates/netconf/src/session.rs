//! The protocol of a session without IO: bytes in, events out, bytes to send. Both sides.

mod client;
mod greeting;
mod server;

use thiserror::Error;

pub use client::{ClientSession, Event};
pub(crate) use server::encode_reply;
pub use server::{Request, ServerSession};

use crate::framing::FramingError;
use crate::message::MessageError;

/// Why a session's protocol broke. The session can't go on after any of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The byte stream can't be cut into messages.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A message can't be understood.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The device opens no session that could be used, and says why.
    #[error("the device opens no NETCONF session for this user: {words}")]
    Restricted {
        /// The device's words, cleaned and shortened.
        words: String,
    },
    /// Other things than hello came first, and too much of them.
    #[error("no hello is among the first 65536 bytes, which begin {words:?}: this is not NETCONF")]
    NoHello {
        /// The beginning, cleaned and shortened.
        words: String,
    },
    /// Something came before hello, or hello came twice.
    #[error("{got} came where {expected} was due: the peer breaks RFC 6241 §8.1")]
    OutOfOrder {
        /// What came.
        got: &'static str,
        /// What was due.
        expected: &'static str,
    },
    /// The peers share no base version.
    #[error("the peer offers neither base:1.0 nor a base version in common: it isn't usable")]
    NoCommonBase,
    /// The server's hello has no session-id.
    #[error("the server's hello has no session-id: it breaks RFC 6241 §8.1")]
    NoSessionId,
    /// A reply to nothing that was asked, or out of order.
    #[error("a reply with message-id {got:?} came where {expected:?} was due: the session can't be trusted")]
    UnexpectedReply {
        /// The reply's message-id.
        got: Option<String>,
        /// The oldest request without answer.
        expected: Option<u64>,
    },
}

#[cfg(test)]
mod tests;
