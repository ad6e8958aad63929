//! An open session with a device.

use std::time::Duration;

use russh::ChannelMsg;
use russh::client::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Target;
use super::connect::Connection;
use super::host_key::PresentedHostKey;
use crate::capability::Capabilities;
use crate::framing::Framing;
use crate::message::{MAX_PARTS, Reply};
use crate::operation::Operation;
use crate::session::{ClientSession, Event, ProtocolError};
use crate::xml::Element;

/// Beyond every deadline.
const FAR_AWAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An open NETCONF session. Dropping it closes the connection at once; [`Session::close`] does so politely.
///
/// One request (or one pipeline of requests) at a time. A session that failed once, or whose call was
/// given up before it ended, is closed and refuses every further request.
#[derive(Debug)]
pub struct Session {
    pub(super) target: Target,
    pub(super) protocol: ClientSession,
    pub(super) reader: ChannelReadHalf,
    pub(super) writer: ChannelWriteHalf<Msg>,
    pub(super) connection: Connection,
    pub(super) host_key: PresentedHostKey,
    pub(super) usable: bool,
}

/// Why a request has no answer.
#[derive(Debug, Error)]
pub enum RpcFailure {
    /// The device can't have received the whole request: nothing came of it.
    #[error(
        "the request was not sent ({cause}): nothing happened on the device; open a new session and repeat"
    )]
    NotSent {
        /// Why.
        cause: Cause,
    },
    /// The request was sent and the answer didn't come: it may have been carried out or not.
    #[error(
        "no answer after {} of {sent} requests ({cause}): what the others did is unknown; read the device back",
        answered.len()
    )]
    NoAnswer {
        /// Why.
        cause: Cause,
        /// Answers that did come, in order (of a pipeline).
        answered: Vec<Reply>,
        /// Requests sent.
        sent: usize,
    },
}

impl RpcFailure {
    /// Why.
    pub fn cause(&self) -> &Cause {
        match self {
            Self::NotSent { cause } | Self::NoAnswer { cause, .. } => cause,
        }
    }

    /// Whether none of the requests was answered.
    pub fn is_unanswered(&self) -> bool {
        match self {
            Self::NotSent { .. } => true,
            Self::NoAnswer { answered, .. } => answered.is_empty(),
        }
    }

    /// Whether the device may have acted on the request.
    pub fn in_doubt(&self) -> bool {
        matches!(self, Self::NoAnswer { .. })
    }
}

/// What ended a session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The connection was closed by the device or lost.
    #[error("the connection was lost")]
    Closed,
    /// The device broke the protocol.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
}

impl Session {
    /// Sends one request and waits for its answer. An `rpc-error` is an answer, see
    /// [`Reply::into_result`](crate::message::Reply::into_result).
    pub async fn rpc(&mut self, operation: &Operation, deadline: Instant) -> Result<Reply, RpcFailure> {
        let mut replies = self.pipeline(std::slice::from_ref(operation), deadline).await?;
        // The pipeline gives exactly one reply per operation.
        replies.pop().ok_or(RpcFailure::NoAnswer { cause: Cause::Closed, answered: Vec::new(), sent: 1 })
    }

    /// Sends several requests in one write (RFC 6241 §4.5) and waits for all answers, which are given in
    /// the same order. The device carries them out one after the other, whatever the answers are.
    pub async fn pipeline(
        &mut self,
        operations: &[Operation],
        deadline: Instant,
    ) -> Result<Vec<Reply>, RpcFailure> {
        self.pipeline_answering_by(operations, deadline, deadline).await
    }

    /// The same on a session that may be dead: if the first answer isn't there at `first_by`, it is given up
    /// then, and not only at `deadline`. So a request that takes long is told from a device that is gone, as
    /// long as the first of the requests takes none.
    pub async fn pipeline_answering_by(
        &mut self,
        operations: &[Operation],
        first_by: Instant,
        deadline: Instant,
    ) -> Result<Vec<Reply>, RpcFailure> {
        if !self.is_usable() {
            return Err(RpcFailure::NotSent { cause: Cause::Closed });
        }
        if deadline <= Instant::now() {
            // Nothing was sent: the session stays good.
            return Err(RpcFailure::NotSent { cause: Cause::Deadline });
        }
        // Until the answers are in, also if the caller drops this future.
        self.usable = false;
        let mut bytes = Vec::with_capacity(1024);
        for operation in operations {
            self.protocol.request(operation, &mut bytes);
        }
        let mut exchange = Exchange { written: false, replies: Vec::with_capacity(operations.len()) };
        let run = async {
            self.exchange(bytes, operations.len(), first_by, &mut exchange).await?;
            self.fetch_rest(&mut exchange.replies).await
        };
        let cause = match timeout_at(deadline, run).await {
            Ok(Ok(())) => {
                self.usable = true;
                return Ok(exchange.replies);
            }
            Ok(Err(cause)) => cause,
            Err(_) => Cause::Deadline,
        };
        self.connection.cut();
        for reply in &mut exchange.replies {
            // Nothing may be concluded from a part.
            if reply.set_id().is_some() {
                *reply = Reply::incomplete(&cause.to_string());
            }
        }
        tracing::debug!(target = %self.target, %cause, "NETCONF session failed");
        // The end of a message is handed to SSH last, so of a single request that wasn't written to its end
        // the device has at most a part. Of several, some may be there as a whole.
        if !exchange.written && operations.len() == 1 {
            Err(RpcFailure::NotSent { cause })
        } else {
            Err(RpcFailure::NoAnswer { cause, answered: exchange.replies, sent: operations.len() })
        }
    }

    /// Completes replies of which the device gave only the first part. It may have sent later answers of the
    /// pipeline before it reads `get-next`, so those are all taken before.
    async fn fetch_rest(&mut self, replies: &mut [Reply]) -> Result<(), Cause> {
        for reply in replies.iter_mut().filter(|reply| reply.set_id().is_some()) {
            if reply.is_error() {
                // Refused as a whole: there is nothing to go on with.
                continue;
            }
            if let Err(reason) = self.fetch_rest_of(reply).await? {
                *reply = Reply::incomplete(&reason);
            }
        }
        Ok(())
    }

    /// The inner error: the device doesn't give the rest, but the session is in order.
    async fn fetch_rest_of(&mut self, reply: &mut Reply) -> Result<Result<(), String>, Cause> {
        let (limits, before) = (*self.protocol.limits(), self.protocol.message_bytes());
        let mut nodes = reply.data().map_or(0, Element::count);
        for _ in 1..MAX_PARTS {
            let next = match reply.get_next() {
                Ok(next) => next,
                Err(reason) => return Ok(Err(reason)),
            };
            let mut bytes = Vec::new();
            self.protocol.request(&next, &mut bytes);
            let mut exchange = Exchange { written: false, replies: Vec::with_capacity(1) };
            // The caller's deadline holds for all parts together.
            let never = Instant::now() + FAR_AWAY;
            self.exchange(bytes, 1, never, &mut exchange).await?;
            let Some(part) = exchange.replies.pop() else { return Err(Cause::Closed) };
            nodes += part.data().map_or(0, Element::count);
            if nodes > limits.max_nodes {
                return Ok(Err(format!("all parts together have more than {} nodes", limits.max_nodes)));
            }
            if self.protocol.message_bytes() - before > limits.max_bytes as u64 {
                return Ok(Err(format!("all parts together have more than {} bytes", limits.max_bytes)));
            }
            if let Err(reason) = reply.append(part) {
                return Ok(Err(reason));
            }
            if reply.set_id().is_none() {
                return Ok(Ok(()));
            }
        }
        Ok(Err(format!("there are more than {MAX_PARTS} parts")))
    }

    /// Writes and reads at the same time: a device may stop reading until its answers are read.
    async fn exchange(
        &mut self,
        bytes: Vec<u8>,
        wanted: usize,
        first_by: Instant,
        exchange: &mut Exchange,
    ) -> Result<(), Cause> {
        let Self { writer, reader, protocol, .. } = self;
        let write = writer.data_bytes(bytes);
        let silence = sleep_until(first_by);
        tokio::pin!(write, silence);
        while exchange.replies.len() < wanted || !exchange.written {
            tokio::select! {
                biased;
                result = &mut write, if !exchange.written => {
                    result.map_err(|_| Cause::Closed)?;
                    exchange.written = true;
                }
                message = reader.wait() => match message {
                    Some(ChannelMsg::Data { data }) => {
                        protocol.receive(&data)?;
                        while let Some(event) = protocol.next_event()? {
                            match event {
                                Event::Reply { reply, .. } => exchange.replies.push(reply),
                                // Nobody has subscribed to any.
                                Event::Notification(_) | Event::Established => {}
                            }
                        }
                    }
                    None | Some(ChannelMsg::Eof | ChannelMsg::Close) => return Err(Cause::Closed),
                    // Standard error of the subsystem, window changes, exit codes.
                    Some(_) => {}
                },
                () = &mut silence, if exchange.replies.is_empty() => return Err(Cause::Deadline),
            }
        }
        Ok(())
    }

    /// Whether a request may be sent. False as soon as the device is known to have closed the session.
    pub fn is_usable(&self) -> bool {
        self.usable && self.connection.is_open()
    }

    /// The device's capabilities.
    pub fn capabilities(&self) -> &Capabilities {
        static NONE: Capabilities = Capabilities::EMPTY;
        self.protocol.capabilities().unwrap_or(&NONE)
    }

    /// The device's number for this session.
    pub fn session_id(&self) -> u32 {
        self.protocol.session_id().unwrap_or_default()
    }

    /// Whether base:1.1 with its chunked framing was agreed.
    pub fn is_chunked(&self) -> bool {
        self.protocol.framing() == Framing::Chunked
    }

    /// The device.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The host key that the device presented and that matched.
    pub fn host_key(&self) -> &PresentedHostKey {
        &self.host_key
    }

    /// Ends the session with `close-session` (RFC 6241 §7.8), waiting for the answer until `deadline`, and
    /// closes the connection in any case.
    pub async fn close(mut self, deadline: Instant) {
        if self.is_usable() {
            // The answer changes nothing: the connection is closed either way.
            let _ = self.rpc(&Operation::close_session(), deadline).await;
        }
        self.connection.disconnect(deadline).await;
    }
}

struct Exchange {
    written: bool,
    replies: Vec<Reply>,
}
