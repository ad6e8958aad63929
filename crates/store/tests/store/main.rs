//! The store on a real Postgres, each test in a database of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod accept;
mod audits;
mod claims;
mod control;
mod costs;
mod devices;
mod doubts;
mod events;
mod exams;
mod groups;
mod library;
mod lives;
mod pending_tokens;
mod pool;
mod random_lives;
mod regions;
mod relay;
mod resource_stress;
mod resources;
mod retries;
mod schema;
mod settle;
mod start;
mod stress;
mod support;
mod sweep;
mod testing;
mod tokens;
mod transcripts;
mod undo;
