//! The HTTP API (RFC 9110): one route table, one entrance that checks everything before a handler
//! sees a request.

mod answer;
mod bulk;
mod call;
mod catalogue;
mod check;
mod deployments;
mod devices;
mod entrance;
mod events;
mod exam;
mod explain;
mod filter;
mod fleet;
mod openapi;
mod orders;
mod plan;
mod query;
mod resolve;
mod schemas;
mod serve;
mod services;
mod system;
mod table;
mod undo;

pub(crate) use self::{
    entrance::router,
    fleet::Fleet,
    openapi::describe,
    serve::{Bounds, serve},
    table::{Route, routes},
};
