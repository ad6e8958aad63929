//! turnup-device-sim
pub mod behaviour;
pub mod datastore;
pub mod leaves;
pub mod path;
pub mod request;
pub mod schema;
