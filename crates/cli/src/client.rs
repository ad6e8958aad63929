//! The client commands: they speak HTTP with an intake, as any other client would.

pub(crate) mod definition;
pub(crate) mod deployment;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod fleet;
pub(crate) mod http;
pub(crate) mod input;
pub(crate) mod order;
pub(crate) mod output;
pub(crate) mod paint;
pub(crate) mod pool;
pub(crate) mod service;
pub(crate) mod table;
pub(crate) mod xml;
