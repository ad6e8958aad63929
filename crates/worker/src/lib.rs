//! The worker: takes deployments of its regions from the broker, carries each out as a network transaction
//! over all its devices, and reports what became of it. It reaches the broker and the devices, nothing
//! else.
//!
//! Layers, from pure to IO: `transaction` (the state machine), `work`, `lacks`, `classify` (what is wanted,
//! what is there, what an error means); `ledger`, `search` (which
//! orders of a group are guilty); `device` (one device's part), `drive` (all devices' phases);
//! `pool` (warm sessions), `room` (how much at once);
//! `deploy` (one delivery), `serve` (all of them), `outbound` (reports). `transcript`: what was said, for people. Audits: `audit` (pure),
//! `device::look`. Questions about devices: `ask`; `exam`: how a device behaves.
//!
//! Architecture invariants:
//! - In force on all devices or on none. Where that can't be had any more, because a device fell silent
//!   after the decision, the report says which configuration is in force where, and where it isn't known.
//! - No word about a device that it hasn't answered itself: after a commit without answer the device is
//!   read back, on a session that begins when the old one is over.
//! - The delivery is acknowledged after the report is confirmed by the broker, never before.
//! - A delivery that may have been worked on before touches no device until the scheduler has made this
//!   worker's attempt the current one. After every wait the attempt is checked again.
//! - The edit isn't sent before the locks are held; a session in doubt is closed and never used again.
//! - Audits and questions change nothing: audits only read, and an edit that is tried out is discarded under
//!   the candidate's lock or with the session. An exam works in a scratch and takes back what it did.
//! - Secrets are resolved here, by reference, and are in no message, log or error. What looks like one in what is
//!   said to a device is masked before it is kept.

mod activate;
mod ask;
mod audit;
mod base_1_0;
mod classify;
mod crash;
mod credential;
mod currency;
mod deploy;
mod device;
mod drive;
mod error;
mod exam;
mod lacks;
mod ledger;
mod nodes;
mod outbound;
mod pool;
mod progress;
mod read_mode;
mod report;
mod retry;
mod room;
mod search;
mod secrets;
mod serve;
mod settings;
mod transcript;
mod unite;
mod whole;
mod work;

#[cfg(test)]
mod tests;

pub use credential::{CredentialSource, SecretSource};
pub use error::WorkerError;
pub use serve::{Status, Worker, run};
pub use settings::{Assignment, RegionLimits, Settings, Transcripts};
