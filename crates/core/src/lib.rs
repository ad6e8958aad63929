//! The pure domain of turnup: what an order is, which states it may take, who may do what, what
//! travels in messages and events.
//!
//! Architecture invariant: no IO, no clock, no randomness, no async runtime. Whoever calls gives
//! the time and the new ids; every decision here can be repeated and tested without a machine
//! around it.

pub mod across;
pub mod ask;
pub mod attempt;
pub mod audit;
pub mod delay;
pub mod drift;
pub mod event;
pub mod exam;
pub mod explain;
pub mod failure;
pub mod id;
pub mod inventory;
pub mod lease;
pub mod lifecycle;
pub mod message;
pub mod name;
pub mod nodes;
pub mod order;
pub mod piece;
pub mod policy;
pub mod problem;
pub mod profile;
pub mod resource;
pub mod retry;
pub mod secret;
pub mod settle;
pub mod time;
pub mod transaction;
pub mod transcript;
pub mod undo;
pub mod words;

/// Texts from outside, as they may be shown.
pub use turnup_clean as clean;
