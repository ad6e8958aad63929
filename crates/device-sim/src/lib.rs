//! Simulated network devices: thousands of NETCONF servers over real SSH in one process, with their own data
//! model ([`schema`], YANG module `turnup-sim`), a [`journal`] of every change, scripted misbehaviour
//! ([`behaviour`]), and the ways of real servers ([`personality`]).
//!
//! [`Simulator::start`] runs devices inside any process, tests included; [`control`] reaches them from
//! others. What the devices do with requests is in [`datastore`], which is pure.
//!
//! Invariants:
//! - No request that changed a running configuration is answered before its record is in the journal, and
//!   there is no record of what didn't happen. From the journal alone follows what every device had in force
//!   at any time.
//! - A running configuration is always valid by the schema.
//! - An edit, a commit, a rollback and a filtered read cost what they touch, however large the configuration.
//! - A simulator that is started again on the same directory is a set of devices after a power cut: running
//!   as it was (or as it was saved, where the personality has it so), confirmed commits that were pending taken
//!   back, everything else forgotten, same host keys.
//! - Misbehaviour is only what the script and the personality say.

pub mod behaviour;
pub mod control;
pub mod datastore;
mod device;
pub mod journal;
pub mod leaves;
mod network;
pub mod path;
pub mod pattern;
pub mod personality;
mod ping;
mod request;
pub mod schema;
mod simulator;

pub use device::SimDevice;
pub use personality::Personality;
pub use ping::PingFate;
pub use request::Profile;
pub use simulator::{DeviceSpec, InventoryEntry, Options, Simulator, SimulatorError};
