//! Everything turnup does with RabbitMQ: the topology, publishing, consuming, delayed delivery,
//! request and reply, the parking lot. Bodies are bytes here; what they mean is in `turnup-core`.
//!
//! Architecture invariants:
//! - This is the only crate that imports `lapin`, and no type of `lapin` appears in its interface.
//! - A publish counts as done only when the broker confirmed it *and* did not return it. What may
//!   or may not have reached the broker is reported as [`PublishError::Uncertain`], never as
//!   failure or success.
//! - A delivery is acknowledged once or not at all: what belongs to a dead channel is
//!   [`Settled::Stale`], and the broker gives it to someone else.
//! - Publishing, consuming and requests have connections of their own, because a broker that
//!   blocks publishers stops *everything* on their connection.
//! - Every await that leaves the process has a deadline, every buffer a bound. Lost connections
//!   are rebuilt by supervisors of ours ([`Publisher`], [`Consumer`], [`Requester`]), never by lapin.
//!
//! lapin logs whole returned messages at `warn`; set its log level to `off` or `error`.

mod consumer;
mod declare;
pub mod delay;
mod delivery;
mod error;
mod handle;
mod health;
mod link;
mod message;
mod names;
mod owner;
pub mod parked;
mod publisher;
mod pulse;
mod request;
mod retry;
mod settings;
pub mod topology;
mod window;

pub use consumer::{ConsumeOptions, Consumer, StopHandle, StreamOffset};
pub use declare::{Difference, check, declare, delete};
pub use delivery::{Delivery, Settled, ack_many};
pub use error::{BrokerError, PublishError};
pub use handle::{Broker, Depth};
pub use message::{HeaderValue, Headers, MAX_BODY_BYTES, Outgoing};
pub use names::{DeployClass, Names, STATE_SHARDS};
pub use publisher::Publisher;
pub use request::{Reply, RequestError, Requester};
pub use settings::Settings;
