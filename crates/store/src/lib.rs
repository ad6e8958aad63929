//! The status store: the truth about every order, service, device and deployment, in Postgres.
//! The only crate that imports tokio-postgres and deadpool-postgres.
//!
//! Architecture invariants:
//! - Every change of an order's state is a guarded update in a transaction that also writes the
//!   history entry (which is the public event) and the outbox rows.
//! - Everything is set-based: the wall is the number of durable commits, not of rows.
//! - Row locks are taken in one order everywhere, deployments → orders → services → leases → cursors
//!   of pools → values of pools → keys of new orders, each sorted, so that transactions wait for each
//!   other but never in a circle. (An order that turns out Invalid at its start changes its service
//!   after the leases: it has all of them, so that no other order of that service is in progress.)
//!   What decides is read by a later statement than the one that locks, as a statement's snapshot is
//!   older than the locks it waits for.
//! - Whoever frees a device, or leaves the queue for a free one, sends the first in its queue a due
//!   message in the same transaction, so that nobody waits with nobody in front.
//! - A value of a pool belongs to one service, and to the orders of it that need it. Whoever ends an
//!   order releases, in the same transaction, by the one statement `resource_release`.
//! - What moves is kept narrow and apart from what never changes (`orders`, `order_requests`;
//!   `deployments`, `dispatches`), and events are written once: the relay gives them their cursors in
//!   a table beside.
//! - A transaction that is given up, at a deadline or by a dropped future, closes its connection.
//! - Statements live in `queries/`, one per file; a test prepares each against the migrated schema.

mod accept;
mod audit;
mod change;
mod check;
mod claim;
mod collision;
mod control;
mod create;
mod definition;
mod deployment;
mod device;
mod doubt;
mod entry;
mod error;
mod event;
mod exam;
mod finish;
mod listen;
mod lookup;
mod migrate;
mod module;
mod new_order;
mod node;
mod order;
mod outbox;
mod plan;
mod pool;
mod reserve;
mod resource;
mod retry;
mod service;
mod settle;
mod start;
mod sweep;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
mod transcript;

pub use audit::AuditView;
pub use check::CheckView;
pub use collision::UnfinishedOrder;
pub use control::{Control, Refused};
pub use create::create_database;
pub use definition::{DefinitionRow, NewDefinition, Published, StoredDefinition};
pub use deployment::DeploymentView;
pub use device::{Device, DeviceChange};
pub use entry::Entry;
pub use error::StoreError;
pub use event::{EventFilter, Logged};
pub use exam::ExamLease;
pub use listen::{Channel, Listener};
pub use lookup::IdOf;
pub use migrate::SCHEMA_VERSION;
pub use module::IgnoredModule;
pub use new_order::{Accepted, Clash, Exhausted, Filled, NewOrder};
pub use node::Holder;
pub use order::{HistoryEntry, OrderFilter, OrderView, Page};
pub use outbox::{OutboxRow, RelayLease, Work};
pub use pool::{Settings, Store};
pub use resource::{PoolInUse, ResourceFilter, ResourceRow};
pub use retry::{Retry, RetryView, ToRetry};
pub use service::{FootprintRow, ServiceFilter, ServiceView};
pub use settle::{
    DeploymentChange, DeploymentToSettle, OrderToSettle, Part, ServiceChange, Settled, Settling, StageChange,
    TokenChange,
};
pub use start::{Decision, DueOrder, ServiceAtStart, Start, Starting, StoredFootprint};
pub use sweep::Swept;
pub use token::{NewToken, TokenView};
pub use transcript::TranscriptView;
