//! The one table of exchanges, queues and bindings.
//!
//! It is data: [`crate::declare()`] creates it, [`crate::check()`] compares the broker with it,
//! [`Table::markdown`] is the table in the manual.

use std::fmt::Write as _;

use crate::delay::{level_pattern, level_ttl_ms, out_pattern};
use crate::names::{DeployClass, Names, STATE_SHARDS};

/// Deliveries of one message before the broker dead-letters it.
pub const DELIVERY_LIMIT: i64 = 20;

/// Browsing the parking lot counts as deliveries too, so its limit is out of reach. It is not
/// `-1`, which RabbitMQ 3.10 takes for "dead-letter at the first requeue".
const PARKED_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// A claim that nobody took in this time is dropped: who asked has asked again.
const CLAIM_TTL_MS: i64 = 5_000;

/// A question about a device that no worker took in this time is dropped: who asked waits no longer.
const ASK_TTL_MS: i64 = 10_000;
/// Most questions that wait for the workers of one region.
const MAX_ASKS: i64 = 1_000;

/// How an exchange routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By equal keys.
    Direct,
    /// By patterns of words.
    Topic,
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(n) => write!(f, "{n}"),
            Self::Bool(yes) => write!(f, "{yes}"),
        }
    }
}

/// Arguments of an exchange or queue, by name.
pub type Arguments = Vec<(&'static str, Value)>;

/// An exchange; all are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Name.
    pub name: String,
    /// Routing.
    pub kind: Kind,
    /// Arguments.
    pub arguments: Arguments,
}

/// A queue; all are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Name.
    pub name: String,
    /// Who reads it.
    pub reader: &'static str,
    /// Arguments.
    pub arguments: Arguments,
}

/// What a binding leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A queue.
    Queue(String),
    /// Another exchange.
    Exchange(String),
}

/// A binding from an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The exchange.
    pub source: String,
    /// The binding key.
    pub key: String,
    /// Where messages go.
    pub target: Target,
}

/// What decides the table besides the names.
#[derive(Debug, Clone)]
pub struct Options {
    /// Device regions, one word each. More may be added later by declaring again.
    pub regions: Vec<String>,
    /// Levels of the delay ladder.
    pub ladder_levels: u8,
    /// Size at which the stream of public events drops its oldest, in bytes.
    pub events_max_bytes: i64,
    /// Age at which the stream of public events drops its oldest, in days.
    pub events_max_age_days: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            ladder_levels: crate::delay::DEFAULT_LEVELS,
            events_max_bytes: 5_000_000_000,
            events_max_age_days: 7,
        }
    }
}

/// The topology.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Exchanges, in the order in which they are declared.
    pub exchanges: Vec<Exchange>,
    /// Queues, in the order in which they are declared.
    pub queues: Vec<Queue>,
    /// Bindings, declared last.
    pub bindings: Vec<Binding>,
}

impl Table {
    /// The whole topology.
    #[must_use]
    pub fn new(names: &Names, options: &Options) -> Self {
        let mut table = Self::default();
        table.parking(names);
        table.ladder(names, options.ladder_levels);
        table.work(names, &options.regions);
        table.events(names, options);
        table.claims(names);
        table.asks(names, &options.regions);
        table
    }

    /// Parked messages: whatever gives up on a message sends it here.
    fn parking(&mut self, names: &Names) {
        self.exchange(names.parked(), Kind::Topic, vec![]);
        let arguments = vec![
            ("x-queue-type", text("quorum")),
            ("x-delivery-limit", Value::Int(PARKED_DELIVERY_LIMIT)),
            ("x-overflow", text("reject-publish")),
        ];
        self.queue(names.parked(), "turnup parked", arguments);
        self.bind(names.parked(), "#", names.parked());
    }

    /// The delay ladder. Its exchanges have no alternate exchange: a message that they can't
    /// route is returned to who published it.
    fn ladder(&mut self, names: &Names, levels: u8) {
        self.exchange(names.delay_out(), Kind::Topic, vec![]);
        for level in 0..levels {
            let name = names.delay_level(level);
            let next = match level.checked_sub(1) {
                Some(below) => names.delay_level(below),
                None => names.delay_out(),
            };
            self.exchange(name.clone(), Kind::Topic, vec![]);
            let mut arguments = quorum(&next);
            arguments.push(("x-message-ttl", Value::Int(level_ttl_ms(level))));
            self.queue(name.clone(), "nobody", arguments);
            self.bind(name.clone(), &level_pattern(level, true), name.clone());
            self.bindings.push(Binding {
                source: name,
                key: level_pattern(level, false),
                target: Target::Exchange(next),
            });
        }
    }

    /// Queues of work, each also an address for the ladder.
    fn work(&mut self, names: &Names, regions: &[String]) {
        // Orders come from programs that aren't ours, so what can't be routed is parked, not lost.
        self.exchange(names.orders(), Kind::Topic, vec![("alternate-exchange", text(names.parked()))]);
        self.work_queue(names, names.intake(), "intake", vec![]);
        self.bind(names.orders(), "#", names.intake());

        self.exchange(names.due(), Kind::Direct, vec![]);
        self.work_queue(names, names.due(), "scheduler", vec![]);
        self.bind(names.due(), "due", names.due());

        self.exchange(names.deploy(), Kind::Direct, vec![]);
        for region in regions {
            for class in DeployClass::ALL {
                let queue = names.deploy_queue(region, class);
                self.work_queue(names, queue.clone(), "worker", vec![]);
                self.bind(names.deploy(), &Names::deploy_key(region, class), queue);
            }
        }

        self.exchange(names.state(), Kind::Direct, vec![]);
        for shard in 0..STATE_SHARDS {
            let queue = names.state_queue(shard);
            let single = ("x-single-active-consumer", Value::Bool(true));
            self.work_queue(names, queue.clone(), "recorder", vec![single]);
            self.bind(names.state(), &shard.to_string(), queue);
        }
    }

    /// Public news and their replay.
    fn events(&mut self, names: &Names, options: &Options) {
        self.exchange(names.events(), Kind::Topic, vec![]);
        // A stream drops whole segments, so these must be much smaller than the stream.
        let segment = (options.events_max_bytes / 10).clamp(1_000_000, 500_000_000);
        let arguments = vec![
            ("x-queue-type", text("stream")),
            ("x-max-length-bytes", Value::Int(options.events_max_bytes)),
            ("x-max-age", text(format!("{}D", options.events_max_age_days))),
            ("x-stream-max-segment-size-bytes", Value::Int(segment)),
        ];
        self.queue(names.events_log(), "replay", arguments);
        self.bind(names.events(), "#", names.events_log());
    }

    /// Questions of workers to the scheduler. They may be lost: who asked asks again.
    fn claims(&mut self, names: &Names) {
        self.exchange(names.claim(), Kind::Direct, vec![]);
        let arguments = vec![
            ("x-queue-type", text("classic")),
            ("x-message-ttl", Value::Int(CLAIM_TTL_MS)),
            ("x-max-length", Value::Int(100_000)),
        ];
        self.queue(names.claim(), "scheduler", arguments);
        self.bind(names.claim(), "claim", names.claim());
    }

    /// Questions about devices to the workers of their region. They may be lost: who asked has a deadline. A
    /// question to a region without a queue is returned to who asked, and one too many is refused, so both
    /// are known at once; that is why there is no alternate exchange.
    fn asks(&mut self, names: &Names, regions: &[String]) {
        self.exchange(names.ask(), Kind::Direct, vec![]);
        for region in regions {
            let arguments = vec![
                ("x-queue-type", text("classic")),
                ("x-message-ttl", Value::Int(ASK_TTL_MS)),
                ("x-max-length", Value::Int(MAX_ASKS)),
                ("x-overflow", text("reject-publish")),
            ];
            let queue = names.ask_queue(region);
            self.queue(queue.clone(), "worker", arguments);
            self.bind(names.ask(), region, queue);
        }
    }

    fn exchange(&mut self, name: String, kind: Kind, arguments: Arguments) {
        self.exchanges.push(Exchange { name, kind, arguments });
    }

    fn queue(&mut self, name: String, reader: &'static str, arguments: Arguments) {
        self.queues.push(Queue { name, reader, arguments });
    }

    /// A quorum queue that dead-letters to the parking lot and takes messages from the ladder.
    fn work_queue(&mut self, names: &Names, name: String, reader: &'static str, more: Arguments) {
        let address = name.strip_prefix(names.prefix()).map_or(name.as_str(), |a| a.trim_start_matches('.'));
        self.bind(names.delay_out(), &out_pattern(address), name.clone());
        let mut arguments = quorum(&names.parked());
        arguments.extend(more);
        self.queue(name, reader, arguments);
    }

    fn bind(&mut self, source: String, key: &str, queue: String) {
        self.bindings.push(Binding { source, key: key.to_owned(), target: Target::Queue(queue) });
    }

    /// The table as Markdown, for the manual.
    #[must_use]
    pub fn markdown(&self) -> String {
        // Writing to a String can't fail.
        let mut out = String::from("| exchange | type | arguments |\n|---|---|---|\n");
        for e in &self.exchanges {
            let kind = if e.kind == Kind::Direct { "direct" } else { "topic" };
            let _ = writeln!(out, "| `{}` | {kind} | {} |", e.name, arguments(&e.arguments));
        }
        out.push_str("\n| queue | read by | arguments |\n|---|---|---|\n");
        for q in &self.queues {
            let _ = writeln!(out, "| `{}` | {} | {} |", q.name, q.reader, arguments(&q.arguments));
        }
        out.push_str("\n| from exchange | binding key | to |\n|---|---|---|\n");
        for b in &self.bindings {
            let to = match &b.target {
                Target::Queue(name) => format!("queue `{name}`"),
                Target::Exchange(name) => format!("exchange `{name}`"),
            };
            let _ = writeln!(out, "| `{}` | `{}` | {to} |", b.source, b.key);
        }
        out
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// A quorum queue that loses nothing: limited deliveries, dead-lettering that waits for the
/// confirm of its target. Without `reject-publish` the strategy would silently be `at-most-once`.
fn quorum(dead_letter_exchange: &str) -> Arguments {
    vec![
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", Value::Int(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", text(dead_letter_exchange)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

fn arguments(list: &Arguments) -> String {
    list.iter().map(|(name, value)| format!("`{name}={value}`")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn table() -> Table {
        let options =
            Options { regions: vec!["eu-west".to_owned(), "us-east".to_owned()], ..Options::default() };
        Table::new(&Names::new("turnup"), &options)
    }

    #[test]
    fn every_binding_joins_what_is_in_the_table_and_every_queue_is_reached() {
        let table = table();
        let exchanges: HashSet<_> = table.exchanges.iter().map(|e| e.name.as_str()).collect();
        let queues: HashSet<_> = table.queues.iter().map(|q| q.name.as_str()).collect();
        assert_eq!(exchanges.len(), table.exchanges.len(), "names are unique");
        assert_eq!(queues.len(), table.queues.len(), "names are unique");
        let mut bound = HashSet::new();
        for b in &table.bindings {
            assert!(exchanges.contains(b.source.as_str()), "{b:?}");
            match &b.target {
                Target::Queue(name) => {
                    assert!(queues.contains(name.as_str()), "{b:?}");
                    bound.insert(name.as_str());
                }
                Target::Exchange(name) => assert!(exchanges.contains(name.as_str()), "{b:?}"),
            }
        }
        assert_eq!(bound, queues);
        assert_eq!(table.queues.len(), 1 + 20 + 1 + 1 + 2 * 3 + 8 + 1 + 1 + 2);
    }

    #[test]
    fn quorum_queues_have_all_that_keeps_messages() {
        for q in table().queues {
            let get = |name| q.arguments.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
            if get("x-queue-type").as_deref() != Some("quorum") {
                continue;
            }
            let limit: i64 = get("x-delivery-limit").unwrap().parse().unwrap();
            assert!(limit >= DELIVERY_LIMIT, "{}", q.name);
            assert_eq!(get("x-overflow").as_deref(), Some("reject-publish"), "{}", q.name);
            if q.name != "turnup.parked" {
                assert_eq!(get("x-dead-letter-strategy").as_deref(), Some("at-least-once"), "{}", q.name);
                assert!(get("x-dead-letter-exchange").is_some(), "{}", q.name);
            }
            assert_eq!(get("x-dead-letter-routing-key"), None, "{}", q.name);
            assert_eq!(get("x-max-length"), None, "{}", q.name);
        }
    }

    #[test]
    fn markdown_has_a_line_for_each() {
        let table = table();
        let lines = table.markdown().lines().filter(|l| l.starts_with("| `")).count();
        assert_eq!(lines, table.exchanges.len() + table.queues.len() + table.bindings.len());
    }
}
