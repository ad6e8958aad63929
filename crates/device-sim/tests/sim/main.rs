//! Simulated devices over real SSH, driven by the client of turnup-netconf.

mod confirmed_commit;
mod device;
mod fleet;
mod misbehaviour;
mod restart;
