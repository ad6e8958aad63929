//! Checking configuration against YANG: what is found, what is left to the device, and whose mistake it is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; the exception in clippy.toml does not cover their helpers"
)]

mod any;
mod cache;
mod finds;
mod lets_pass;
mod modules;
mod threads;

use turnup_plan::{ModuleText, Yang};

/// The simulated devices' module.
const SIM: &str = include_str!("../../../device-sim/yang/turnup-sim.yang");
/// What a check can meet, in small.
const BOX: &str = include_str!("box.yang");
/// Augments `BOX` from another namespace.
const EXTRA: &str = include_str!("extra.yang");

fn text(name: &str, text: &str) -> ModuleText {
    ModuleText { name: name.to_owned(), revision: None, text: text.to_owned() }
}

fn sim() -> Yang {
    Yang::from_texts(vec![text("turnup-sim", SIM)]).unwrap()
}

fn boxed() -> Yang {
    Yang::from_texts(vec![text("extra", EXTRA), text("box", BOX)]).unwrap()
}

/// The violations as text, with `owned` nodes whole.
fn check(yang: &Yang, owned: &[&str], config: &str) -> Vec<String> {
    let violations = yang.check(config, &|path| owned.contains(&path)).err().unwrap_or_default();
    violations.iter().map(ToString::to_string).collect()
}

/// Content of `/box`, wrapped.
fn in_box(content: &str) -> String {
    format!("<box xmlns=\"urn:box\">{content}</box>")
}
