//! A simulation of schedulers, workers, recorders, broker, store and devices in virtual time. The decisions are
//! the real ones: `core::transaction`, `core::across`, `core::lease`, `core::lifecycle`, `recorder::apply`, and the
//! simulator's datastores; everything between them goes wrong as a seed says. When faults have stopped and all is
//! quiet, [`check`] looks at devices, orders and history.
//!
//! `TURNUP_SIM_SEEDS` says how many seeds are tried (from `TURNUP_SIM_FIRST`), `TURNUP_SIM_SEED` replays one and
//! prints what happens. `TURNUP_SIM_PERSONALITIES` says what the devices play instead of all. [`exhaustive`] looks at the heart of it, the decision between regions, in all its states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test that can't go on fails where it stands"
)]

mod broker;
mod check;
mod device;
mod exhaustive;
mod link;
mod roles;
mod scenario;
mod store;
mod worker;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use turnup_device_sim::{
    Personality,
    personality::{ConfirmedCommit, Persistence},
};
use world::Ms;

/// A mistake that is made on purpose, to see whether it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Decides for confirming while a part has not answered.
    ConfirmsBeforeAllHaveAnswered,
    /// Decides for confirming however late it is.
    IgnoresConfirmBy,
    /// Grants claims with messages of earlier stages.
    ClaimsOfOldStages,
    /// A worker believes the answer to a commit.
    NoReadBack,
    /// A worker begins confirming with less than half of the timer left.
    ConfirmsHoweverLate,
    /// A relay stamps messages when it sends them, however long ago it has read what they say.
    RelaysStampWhenSending,
    /// A worker that has lost the delivery does not ask any more whether its attempt is current.
    ChecksNeedTheDelivery,
    /// What is reported as prepared may be confirmed from now on, although that is over.
    ConfirmByIsNeverPast,
    /// A worker believes what it reads behind a lock that it has waited for.
    BelievesBehindLocks,
    /// What is delivered again is taken over however new it is.
    TakesOverAtOnce,
    /// A worker runs what was delivered again as if it were fresh.
    RepeatsAreFresh,
    /// The recorder applies reports of any attempt.
    ReportsOfAnyAttempt,
    /// What an earlier deployment has left is taken for what was there before.
    RetriesAreFresh,
    /// A worker does not cancel a confirmed commit that the device has refused.
    KeepsRefusedCommits,
}

impl Planted {
    /// All, and whether a few hundred seeds find it; the others are looked for in `make soak`.
    const ALL: [(Self, bool); 14] = [
        (Self::ConfirmsBeforeAllHaveAnswered, true),
        (Self::IgnoresConfirmBy, true),
        (Self::ClaimsOfOldStages, false),
        (Self::NoReadBack, true),
        (Self::ConfirmsHoweverLate, true),
        (Self::RelaysStampWhenSending, false),
        (Self::ChecksNeedTheDelivery, false),
        (Self::ConfirmByIsNeverPast, true),
        (Self::BelievesBehindLocks, false),
        (Self::TakesOverAtOnce, false),
        (Self::RepeatsAreFresh, true),
        (Self::ReportsOfAnyAttempt, true),
        (Self::RetriesAreFresh, false),
        (Self::KeepsRefusedCommits, true),
    ];
}

impl Planted {
    /// What the devices play while it is looked for.
    fn personalities(self) -> &'static str {
        match self {
            Self::KeepsRefusedCommits => "clixon",
            // Found in fewer seeds than where each device plays its own.
            Self::ConfirmByIsNeverPast => "default",
            _ => "all",
        }
    }
}

/// How likely processes come to harm, at each of their steps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) death: f64,
    pub(crate) frost: f64,
    pub(crate) longest_frost: Ms,
    pub(crate) database: f64,
}

/// The end of an id, to tell things apart in a trace.
pub(crate) fn short(id: uuid::Uuid) -> String {
    id.simple().to_string()[28..].to_owned()
}

/// Seeds that are tried where nothing else is said.
const SEEDS: u64 = 5_000;
/// Seeds in which a planted mistake is to be found.
const SEEDS_WITH_MISTAKES: u64 = 8_000;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {value:?}")))
}

/// What the devices may play: those that `TURNUP_SIM_PERSONALITIES` names, with commas. Without it, or with `all`,
/// all that have confirmed commits with tokens: the worker of the simulation knows no other way, so junos is left out. Planted mistakes
/// say their own.
fn personalities(planted: Option<Planted>) -> Vec<Personality> {
    let default = planted.map_or("all", |planted| planted.personalities());
    let names = std::env::var("TURNUP_SIM_PERSONALITIES").unwrap_or_else(|_| default.to_owned());
    let named =
        |name: &str| Personality::named(name).unwrap_or_else(|| panic!("there is no personality {name:?}"));
    let personalities: Vec<Personality> = match names.as_str() {
        "all" => {
            let has_tokens = |p: &Personality| p.confirmed_commit == ConfirmedCommit::V1_1;
            Personality::ALL.into_iter().filter(has_tokens).collect()
        }
        names => names.split(',').map(named).collect(),
    };
    // The workers of the simulation save nothing for the next start of a device.
    let keeps_running = |personality| Personality { persistence: Persistence::Running, ..personality };
    personalities.into_iter().map(keeps_running).collect()
}

/// What a seed finds. A mistake may make a doubt longer by chance, which proves nothing but for the one that is
/// about doubts.
fn faults(seed: u64, planted: Option<Planted>) -> Vec<String> {
    let mut faults = scenario::run(seed, false, planted, &personalities(planted));
    if !matches!(planted, None | Some(Planted::ChecksNeedTheDelivery)) {
        faults.retain(|fault| !fault.contains("in doubt"));
    }
    faults
}

/// Tries the seeds below `seeds` on all cores; the first that fails, with what was found.
fn try_seeds(seeds: u64, planted: Option<Planted>) -> Option<(u64, Vec<String>)> {
    let (next, failed) =
        (AtomicU64::new(variable("TURNUP_SIM_FIRST").unwrap_or(0)), AtomicU64::new(u64::MAX));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.load(Ordering::Relaxed) < u64::MAX {
                        return;
                    }
                    if !faults(seed, planted).is_empty() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = failed.into_inner();
    (seed < u64::MAX).then(|| (seed, faults(seed, planted)))
}

#[test]
#[allow(clippy::print_stdout, reason = "a trace is for who replays a seed")]
fn never_half_configured_never_stuck_whatever_goes_wrong() {
    if let Some(seed) = variable("TURNUP_SIM_SEED") {
        let faults = scenario::run(seed, true, None, &personalities(None));
        assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
        return;
    }
    let seeds = variable("TURNUP_SIM_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    if let Some((seed, faults)) = try_seeds(seeds, None) {
        panic!(
            "seed {seed}: {faults:#?}\nreplay it with its trace: TURNUP_SIM_SEED={seed} cargo nextest run -p turnup-tests \
             --test simulation --no-capture never_half_configured"
        );
    }
    println!("{seeds} seeds in {:.1} s", began.elapsed().as_secs_f64());
}

/// The simulation finds mistakes that are made on purpose.
#[test]
#[allow(clippy::print_stdout, reason = "how soon is of interest")]
fn planted_mistakes_are_found() {
    let soak = std::env::var_os("TURNUP_SOAK").is_some();
    for (planted, soon) in Planted::ALL.into_iter().filter(|(_, soon)| *soon || soak) {
        let most = if soon {
            SEEDS_WITH_MISTAKES
        } else {
            variable("TURNUP_SIM_SEEDS").unwrap_or(100_000).max(250_000)
        };
        let (seed, faults) =
            try_seeds(most, Some(planted)).unwrap_or_else(|| panic!("{planted:?} is not found"));
        println!("{planted:?}: seed {seed}: {}", faults[0]);
    }
}
