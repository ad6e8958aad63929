//! What a device makes of a request, and what that means for the connection.

use crate::framing::Framing;
use crate::message::Reply;
use crate::session::encode_reply;
use crate::xml::Attribute;

/// What a device makes of a request. All but [`Outcome::Reply`] are for simulators that misbehave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Reply(Reply),
    /// An answer, and then the end of the session.
    ReplyAndClose(Reply),
    /// No answer to this nor to any later request; the connection stays open.
    Silence,
    /// The connection is cut without an answer, be it that the request was carried out before or not.
    Drop,
    /// These bytes as they are, in place of an answer.
    Raw(Vec<u8>),
}

/// Bytes to be sent and what comes after.
pub(super) struct Effect {
    pub(super) bytes: Vec<u8>,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Silence,
    Close,
    Cut,
}

impl Outcome {
    pub(super) fn into_effect(self, attributes: &[Attribute], framing: Framing) -> Effect {
        let encoded = |reply: &Reply| {
            let mut bytes = Vec::new();
            encode_reply(reply, attributes, framing, &mut bytes);
            bytes
        };
        match self {
            Self::Reply(reply) => Effect { bytes: encoded(&reply), then: Then::GoOn },
            Self::ReplyAndClose(reply) => Effect { bytes: encoded(&reply), then: Then::Close },
            Self::Silence => Effect { bytes: Vec::new(), then: Then::Silence },
            Self::Drop => Effect { bytes: Vec::new(), then: Then::Cut },
            Self::Raw(bytes) => Effect { bytes, then: Then::GoOn },
        }
    }
}
