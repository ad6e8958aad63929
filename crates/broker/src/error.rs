//! Errors, each with what to do about it.

use std::time::Duration;

/// What went wrong between us and the broker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// A configuration value can't be used.
    #[error("broker.{key} {why}")]
    Settings {
        /// The key.
        key: &'static str,
        /// What it may be.
        why: String,
    },
    /// No connection.
    #[error("the broker can't be reached ({reason}); check that RabbitMQ runs and that broker.url is right")]
    Unreachable {
        /// What the attempt said.
        reason: String,
    },
    /// No answer in time.
    #[error(
        "the broker did not answer {operation} within {after:?}; look at its log and at memory and disk alarms"
    )]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The broker refused; trying again unchanged won't help.
    #[error(
        "the broker refused {operation}: {reason}; `turnup migrate` declares what is missing, and the broker's user needs the rights"
    )]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// The broker's AMQP reply code, for example 404 or 406.
        code: u16,
        /// The broker's words.
        reason: String,
    },
    /// The connection broke while we waited for an answer; try again.
    #[error("the connection to the broker broke during {operation} ({reason}); try again")]
    Broken {
        /// What was asked.
        operation: &'static str,
        /// What ended it.
        reason: String,
    },
    /// A name or property that AMQP can't carry.
    #[error("{what} has {bytes} bytes, AMQP allows 255; shorten it")]
    TooLong {
        /// Which property.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Nothing with such an id in the parking lot.
    #[error("no parked message has the id {id}; `turnup parked list` shows what is there")]
    NotParked {
        /// The id asked for.
        id: String,
    },
    /// A replayed message was not taken by its destination and stays parked.
    #[error("the parked message {id} could not be published again and stays parked: {source}")]
    Replay {
        /// The id of the message.
        id: String,
        /// Why not.
        source: PublishError,
    },
}

impl BrokerError {
    pub(crate) fn from_lapin(operation: &'static str, error: &lapin::Error) -> Self {
        match error.kind() {
            lapin::ErrorKind::ProtocolError(e) => {
                Self::Refused { operation, code: e.get_id(), reason: e.get_message().to_string() }
            }
            _ => Self::Broken { operation, reason: error.to_string() },
        }
    }
}

/// Why a message does not count as published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It can't be published by anyone.
    #[error("the message can't be published: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// It never left this process: publish it again when the broker is back.
    #[error("the message was not sent ({reason}); publish it again")]
    NotSent {
        /// What stood in the way.
        reason: String,
    },
    /// No queue takes it: the exchange has no binding for this routing key.
    #[error(
        "no queue takes messages for exchange {exchange:?} with key {routing_key:?} ({reason}); `turnup migrate` declares the queues of every configured region"
    )]
    Returned {
        /// Where it was sent.
        exchange: String,
        /// With which key.
        routing_key: String,
        /// The broker's words.
        reason: String,
    },
    /// The broker said no: a queue is full or can't write. Publish it again later.
    #[error("the broker could not take the message (negative confirm); publish it again later")]
    Nacked,
    /// It was written, and the answer never came: it must be regarded as perhaps published.
    /// Publishing it again may deliver it twice.
    #[error(
        "the message was sent but not confirmed ({reason}): it may have been published; publishing again may deliver it twice"
    )]
    Uncertain {
        /// What broke the wait.
        reason: String,
    },
}

impl PublishError {
    /// Whether the message may have reached a queue all the same.
    #[must_use]
    pub fn maybe_published(&self) -> bool {
        matches!(self, Self::Uncertain { .. })
    }

    /// Whether publishing the same message again later can succeed.
    #[must_use]
    pub fn worth_retrying(&self) -> bool {
        !matches!(self, Self::Invalid { .. })
    }
}
