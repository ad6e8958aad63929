//! The client against the server over real SSH on the loopback interface.

mod device;
mod faults;
mod login;
mod requests;
