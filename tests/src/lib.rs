//! The harness of the whole-system tests: real binary, real Postgres, real RabbitMQ, simulated
//! devices whose journal is the truth about what happened to the network.
//!
//! Every [`Cluster`] has a database and a broker name prefix of its own and removes both at its end; of
//! a failed test the database and the logs stay ([`runs`]). Tests wait for conditions ([`wait`]) and never for time to pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on fails where it stands"
)]

pub mod api;
pub mod cluster;
pub mod invariants;
pub mod process;
pub mod runs;
pub mod servers;
pub mod wait;

pub use cluster::{Cluster, Options};
