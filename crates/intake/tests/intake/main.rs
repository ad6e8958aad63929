//! The intake on a real Postgres and a real RabbitMQ, at `TURNUP_DATABASE_URL` and `TURNUP_AMQP_URL`
//! or where they usually are. Each test has a database and a broker prefix of its own, which are
//! removed afterwards, also when it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; the exception in clippy.toml does not cover their helpers"
)]

mod amqp;
mod ask;
mod bulk;
mod crash;
mod definitions;
mod deployments;
mod devices;
mod events;
mod idempotency;
mod kinds;
mod orders;
mod outages;
mod plans;
mod proxy;
mod resources;
mod routes;
mod support;
mod undo;
