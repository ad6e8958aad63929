//! The whole system, end to end: the real binary, one process per role.

mod amqp;
mod cli;
mod events;
mod netconfd;
mod orders;
mod schedule;
mod workers;
