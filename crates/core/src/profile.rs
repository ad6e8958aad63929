//! What is known of a device platform.

pub mod error_rule;
