//! The bodies of the fuzz targets over their seeds, and over mutations of these by a seeded generator: the short run
//! that every `make test` has. The long one is `cargo fuzz`, see fuzz/README.md.
//!
//! `TURNUP_FUZZ_RUNS`: mutations per target; `TURNUP_FUZZ_SEED`: begins at another seed. A failure names target and seed
//! and leaves the input in a file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on fails where it stands"
)]

#[allow(unreachable_pub, reason = "it is the library of the fuzz targets too")]
#[path = "../../fuzz/src/lib.rs"]
mod bodies;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use fastrand::Rng;

/// Mutations of seeds per target.
const RUNS: u64 = 4_000;
/// Longest input.
const MAX_BYTES: usize = 16 << 10;
/// No single input may take longer, whatever the machine does besides.
const SLOW: Duration = Duration::from_secs(10);

/// What the syntaxes are made of: a mutation by single bytes hardly ever finds these.
const WORDS: [&str; 40] = [
    "\"",
    "\"\"",
    ",",
    ";",
    "\t",
    "\r\n",
    "\n",
    "\u{feff}",
    "&a ",
    "*a",
    "!!str ",
    "- ",
    ": ",
    "|\n  ",
    "<<: ",
    "---\n",
    "{",
    "}",
    "[",
    "]",
    "null",
    "1E999",
    "-0",
    "0o17",
    "\\u0000",
    "\\ud800",
    "<a>",
    "</a>",
    "<!--",
    "]]>",
    "<![CDATA[",
    "<!DOCTYPE a>",
    "&#x1b;",
    "]]>]]>",
    "\n#4\n",
    "\n##\n",
    "xmlns=\"\"",
    "endpoints.0.device",
    "name",
    "\u{202e}",
];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One seed, changed in one to eight places.
fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seeds[rng.usize(..seeds.len())].clone();
    for _ in 0..rng.usize(1..=8) {
        let at = rng.usize(..=bytes.len());
        let end = rng.usize(at..=bytes.len().min(at + 64));
        match rng.u8(..6) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.u8(..8);
                }
            }
            1 => {
                bytes.drain(at..end);
            }
            2 => {
                let word = WORDS[rng.usize(..WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            3 => {
                let copy = bytes[at..end].to_vec();
                for _ in 0..rng.usize(1..=20) {
                    bytes.splice(at..at, copy.iter().copied());
                }
            }
            4 => {
                let other = &seeds[rng.usize(..seeds.len())];
                let from = rng.usize(..=other.len());
                let to = rng.usize(from..=other.len().min(from + 256));
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => bytes.insert(at, rng.u8(..)),
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

/// Runs a target on an input; a panic names what led to it.
fn run(name: &str, body: fn(&[u8]), input: &[u8], origin: &str) {
    let began = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| body(input))).is_err() {
        let file = std::env::temp_dir().join(format!("turnup-fuzz-{name}"));
        std::fs::write(&file, input).unwrap();
        panic!("target {name} fails on {origin}; the input is in {}", file.display());
    }
    assert!(began.elapsed() < SLOW, "target {name} took {:?} for {origin}", began.elapsed());
}

fn target(name: &str) {
    let (_, body) = bodies::TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    let seeds = seeds(name);
    for (at, seed) in seeds.iter().enumerate() {
        run(name, body, seed, &format!("seed file {at}"));
    }
    let first = number("TURNUP_FUZZ_SEED", 1);
    for seed in first..first + number("TURNUP_FUZZ_RUNS", RUNS) {
        let input = mutated(&seeds, &mut Rng::with_seed(seed));
        run(name, body, &input, &format!("seed {seed}"));
    }
}

#[test]
fn replies_of_any_bytes_keep_their_promises() {
    target("replies");
}

#[test]
fn greetings_of_any_bytes_keep_their_promises() {
    target("greetings");
}

#[test]
fn csv_of_any_bytes_is_read_or_refused() {
    target("csv");
}

#[test]
fn yaml_of_any_bytes_is_read_or_refused() {
    target("yaml");
}

#[test]
fn json_of_any_bytes_is_read_or_refused() {
    target("json");
}

#[test]
fn netbox_exports_of_any_bytes_are_read_or_refused() {
    target("netbox");
}

#[test]
fn every_target_has_a_test_a_binary_and_seeds() {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    let this = include_str!("main.rs");
    for (name, _) in bodies::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(this.contains(&format!("target(\"{name}\")")), "{name}");
        assert!(!seeds(name).is_empty());
    }
}
