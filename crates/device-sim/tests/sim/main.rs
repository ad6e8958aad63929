//! Simulated devices over real SSH, driven by the client of turnup-netconf.

// Helpers of tests fail by panic, as tests do.
#![allow(clippy::unwrap_used)]

mod confirmed_commit;
mod device;
mod fleet;
mod misbehaviour;
mod personalities;
mod restart;
mod services;
