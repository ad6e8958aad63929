//! Tests on a real RabbitMQ, at 127.0.0.1:5672 or where `TURNUP_TEST_AMQP` says
//! (`user:password@host:port`).

mod consume;
mod declare;
mod delay;
mod parked;
mod publish;
mod request;
mod support;
