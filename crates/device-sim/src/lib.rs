//! turnup-device-sim
