//! Makes the broker like the table, says how it differs, and takes everything away again.

use futures_util::future::join_all;
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use crate::error::BrokerError;
use crate::handle::Broker;
use crate::link::rpc;
use crate::message::short;
use crate::topology::{Arguments, Exchange, Kind, Queue, Table, Target, Value};

/// The broker's reply codes that tell something about what was asked for.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// How the broker differs from the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It isn't there.
    Missing {
        /// `exchange` or `queue`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there with another type or arguments.
    Differs {
        /// `exchange` or `queue`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The broker's words.
        how: String,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { what, name } => write!(f, "{what} {name} is missing; run `turnup migrate`"),
            Self::Differs { what, name, how } => {
                write!(f, "{what} {name} differs: {how}; empty it, delete it and run `turnup migrate`")
            }
        }
    }
}

/// Creates what is missing, all durable. May be repeated, and with more regions.
///
/// # Errors
/// [`BrokerError::Refused`] with code 406 when something is there with other arguments.
pub async fn declare(broker: &Broker, table: &Table) -> Result<(), BrokerError> {
    let limit = broker.settings().rpc_timeout();
    let channel = broker.0.control.channel().await?;
    for exchange in &table.exchanges {
        declare_exchange(broker, &channel, exchange, false).await?;
    }
    for queue in &table.queues {
        declare_queue(broker, &channel, queue, false).await?;
    }
    for binding in &table.bindings {
        let source = short("exchange name", &binding.source)?;
        let key = short("binding key", &binding.key)?;
        let none = FieldTable::default();
        match &binding.target {
            Target::Queue(name) => {
                let name = short("queue name", name)?;
                let bind = channel.queue_bind(name, source, key, QueueBindOptions::default(), none);
                rpc("queue.bind", limit, bind).await?;
            }
            Target::Exchange(name) => {
                let name = short("exchange name", name)?;
                let bind = channel.exchange_bind(name, source, key, ExchangeBindOptions::default(), none);
                rpc("exchange.bind", limit, bind).await?;
            }
        }
    }
    Ok(())
}

/// Compares the broker with the table. Nothing is created: what exists is declared again with
/// the table's arguments, which the broker refuses if they differ and ignores if not. Where our
/// user may not declare, only existence is checked. Bindings can't be read over AMQP; a missing
/// one shows as [`crate::PublishError::Returned`].
///
/// # Errors
/// When the broker is away.
pub async fn check(broker: &Broker, table: &Table) -> Result<Vec<Difference>, BrokerError> {
    let exchanges = table.exchanges.iter().map(Item::Exchange);
    let queues = table.queues.iter().map(Item::Queue);
    let mut found = Vec::new();
    let mut channel = None;
    for item in exchanges.chain(queues) {
        let mut refusal = attempt(broker, &mut channel, item, true).await?;
        if refusal.is_none() {
            refusal = attempt(broker, &mut channel, item, false).await?;
        }
        found.extend(refusal.and_then(|r| difference(item, r)));
    }
    Ok(found)
}

#[derive(Clone, Copy)]
enum Item<'a> {
    Exchange(&'a Exchange),
    Queue(&'a Queue),
}

struct Refusal {
    code: u16,
    reason: String,
}

fn difference(item: Item<'_>, refusal: Refusal) -> Option<Difference> {
    let (what, name) = match item {
        Item::Exchange(e) => ("exchange", e.name.clone()),
        Item::Queue(q) => ("queue", q.name.clone()),
    };
    match refusal.code {
        NOT_FOUND => Some(Difference::Missing { what, name }),
        ACCESS_REFUSED => None,
        _ => Some(Difference::Differs { what, name, how: refusal.reason }),
    }
}

/// Declares something that the broker may refuse, which closes the channel.
async fn attempt(
    broker: &Broker,
    channel: &mut Option<Channel>,
    item: Item<'_>,
    passive: bool,
) -> Result<Option<Refusal>, BrokerError> {
    let open = match channel.take() {
        Some(open) => open,
        None => broker.0.control.channel().await?,
    };
    let declared = match item {
        Item::Exchange(exchange) => declare_exchange(broker, &open, exchange, passive).await,
        Item::Queue(queue) => declare_queue(broker, &open, queue, passive).await,
    };
    match declared {
        Ok(()) => {
            *channel = Some(open);
            Ok(None)
        }
        Err(BrokerError::Refused {
            code: code @ (ACCESS_REFUSED | NOT_FOUND | PRECONDITION_FAILED),
            reason,
            ..
        }) => Ok(Some(Refusal { code, reason })),
        Err(e) => Err(e),
    }
}

/// Deletes everything in the table, with all messages. For tests and `turnup dev`.
///
/// # Errors
/// When the broker is away.
pub async fn delete(broker: &Broker, table: &Table) -> Result<(), BrokerError> {
    let limit = broker.settings().rpc_timeout();
    let channel = broker.0.control.channel().await?;
    let mut deletions = Vec::new();
    for queue in &table.queues {
        let name = short("queue name", &queue.name)?;
        let channel = &channel;
        deletions.push(async move {
            let delete = channel.queue_delete(name, QueueDeleteOptions::default());
            rpc("queue.delete", limit, delete).await.map(|_| ())
        });
    }
    join_all(deletions).await.into_iter().collect::<Result<Vec<()>, _>>()?;
    for exchange in &table.exchanges {
        let name = short("exchange name", &exchange.name)?;
        let delete = channel.exchange_delete(name, ExchangeDeleteOptions::default());
        rpc("exchange.delete", limit, delete).await?;
    }
    Ok(())
}

async fn declare_exchange(
    broker: &Broker,
    channel: &Channel,
    exchange: &Exchange,
    passive: bool,
) -> Result<(), BrokerError> {
    let name = short("exchange name", &exchange.name)?;
    let kind = match exchange.kind {
        Kind::Direct => ExchangeKind::Direct,
        Kind::Topic => ExchangeKind::Topic,
    };
    let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
    let declare = channel.exchange_declare(name, kind, options, to_table(&exchange.arguments)?);
    rpc("exchange.declare", broker.settings().rpc_timeout(), declare).await
}

async fn declare_queue(
    broker: &Broker,
    channel: &Channel,
    queue: &Queue,
    passive: bool,
) -> Result<(), BrokerError> {
    let name = short("queue name", &queue.name)?;
    let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
    let declare = channel.queue_declare(name, options, to_table(&queue.arguments)?);
    rpc("queue.declare", broker.settings().rpc_timeout(), declare).await.map(|_| ())
}

fn to_table(arguments: &Arguments) -> Result<FieldTable, BrokerError> {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Value::Text(text) => AMQPValue::LongString(text.as_bytes().into()),
            Value::Int(n) => AMQPValue::LongLongInt(*n),
            Value::Bool(yes) => AMQPValue::Boolean(*yes),
        };
        table.insert(short("argument name", name)?, value);
    }
    Ok(table)
}
