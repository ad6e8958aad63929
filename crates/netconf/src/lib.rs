//! NETCONF (RFC 6241, RFC 6242): the client and the server side, over SSH.
//!
//! The client talks to network devices, the server plays them in simulators and tests. The crate knows
//! nothing of turnup.
//!
//! Layers, from pure to IO: [`xml`] trees and functions on them ([`filter`], [`compare`], by a
//! [`model`] of the data and the [`spelling`] of values); [`framing`],
//! [`message`], [`capability`], [`operation`]; [`session`], both sides' protocol state without IO; [`ssh`],
//! the client's transport; [`server`].
//!
//! Invariants:
//! - Everything that a peer sends is bounded (bytes, depth, attributes, nodes) before it takes memory.
//! - No byte of a peer makes this crate panic.
//! - A session that timed out or whose protocol broke is closed and never used again: its answers can't be
//!   told apart any more.
//! - "Not sent" and "sent, no answer" are different errors. Only the first may be repeated blindly.
//! - Host keys are pinned. There is no way to connect with credentials to a host whose key isn't given.
//! - All `rpc-error` of a reply are kept, wherever they stand outside of data.
//! - A text of a peer in an error is one bounded line without control characters.

pub mod capability;
pub mod compare;
pub mod filter;
pub mod framing;
pub mod message;
pub mod model;
pub mod namespace;
pub mod operation;
pub mod server;
pub mod session;
pub mod spelling;
pub mod ssh;
mod transport;
pub mod xml;

use turnup_clean as clean;
