//! turnup-broker
