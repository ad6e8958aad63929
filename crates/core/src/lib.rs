//! turnup-core
