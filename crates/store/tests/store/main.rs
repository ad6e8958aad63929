//! The store on a real Postgres, each test in a database of its own.

mod accept;
mod claims;
mod control;
mod devices;
mod events;
mod pool;
mod relay;
mod schema;
mod settle;
mod start;
mod stress;
mod support;
mod sweep;
mod testing;
mod tokens;
