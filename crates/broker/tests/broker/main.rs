//! Tests on a real RabbitMQ, at 127.0.0.1:5672 or where `TURNUP_TEST_AMQP` says
//! (`user:password@host:port`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; the exception in clippy.toml does not cover their helpers"
)]

mod consume;
mod declare;
mod delay;
mod parked;
mod publish;
mod request;
mod support;
