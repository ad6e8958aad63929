//! The whole system, end to end: the real binary, one process per role.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on fails where it stands"
)]

mod amqp;
mod checked;
mod cli;
mod copies;
mod devices;
mod drift;
mod events;
mod exams;
mod failed_runs;
mod files;
mod groups;
mod lives;
mod netconfd;
mod orders;
mod properties;
mod regions;
mod retries;
mod schedule;
mod secrets;
mod transcripts;
mod undo;
mod workers;
mod yang;
