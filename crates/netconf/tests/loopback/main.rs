//! The client against the server over real SSH on the loopback interface.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers outside of test functions are tests, too")]

mod algorithms;
mod device;
mod faults;
mod greetings;
mod login;
mod replies;
mod requests;
mod ssh_server;
