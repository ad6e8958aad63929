//! Whole deployments against simulated devices over SSH. What is true is what the devices have, not what
//! the worker says.

mod audits;
mod crash;
mod doubt;
mod drift;
mod edits;
mod exam;
mod failures;
mod groups;
mod groups_of_kinds;
mod groups_random;
mod groups_trouble;
mod lab;
mod methods;
mod personalities;
mod questions;
mod real;
mod real_exam;
mod real_lesser;
mod real_stages;
mod real_values;
mod recovery;
mod secrets;
mod stages;
mod standing;
mod transcripts;
mod verify;
mod warm;
mod way;
