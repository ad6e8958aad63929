//! Whether an order that failed is tried again by itself, and when (4-devices, "What a failure means").
//!
//! In between nobody holds anything for it: it is Scheduled like any other order, its devices are free.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, FailureClass},
    id::OrderId,
};

/// Most attempts of a policy.
pub const MAX_ATTEMPTS: u32 = 100;
/// Longest time of a policy, in milliseconds: 30 days.
pub const MAX_MS: u64 = 30 * 86_400_000;

/// How often an order is tried, and with what pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Most attempts, the first one included; 1: whoever ordered decides whether it is tried again.
    pub attempts: u32,
    /// Longest pause before the second attempt, in milliseconds. Each further one is twice the one before.
    /// Between half of it and all of it is waited, so that orders that failed together don't come back together.
    pub first_ms: u64,
    /// No pause gets longer than this, in milliseconds.
    pub max_ms: u64,
    /// No attempt is begun later than this after the first one, in milliseconds.
    pub total_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, first_ms: 10_000, max_ms: 300_000, total_ms: 3_600_000 }
    }
}

/// What a region or a service definition says about retries; what it leaves out, the more general policy says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryChanges {
    /// See [`RetryPolicy::attempts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// See [`RetryPolicy::first_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u64>,
    /// See [`RetryPolicy::max_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
    /// See [`RetryPolicy::total_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
}

/// A policy that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {given}, but must be from {min} to {max}")]
pub struct BadPolicy {
    /// Which key.
    pub field: &'static str,
    /// What it says.
    pub given: u64,
    /// The least that it may say.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl RetryPolicy {
    /// One attempt, and no more by itself.
    pub const NONE: Self = Self { attempts: 1, first_ms: 1, max_ms: 1, total_ms: 1 };

    /// The same with `changes`.
    #[must_use]
    pub fn with(self, changes: &RetryChanges) -> Self {
        Self {
            attempts: changes.attempts.unwrap_or(self.attempts),
            first_ms: changes.first_ms.unwrap_or(self.first_ms),
            max_ms: changes.max_ms.unwrap_or(self.max_ms),
            total_ms: changes.total_ms.unwrap_or(self.total_ms),
        }
    }

    /// Whether it can be kept to.
    ///
    /// # Errors
    /// The first key that is out of its range.
    pub fn check(&self) -> Result<(), BadPolicy> {
        let all = [
            ("attempts", u64::from(self.attempts), u64::from(MAX_ATTEMPTS)),
            ("first_ms", self.first_ms, MAX_MS),
            ("max_ms", self.max_ms, MAX_MS),
            ("total_ms", self.total_ms, MAX_MS),
        ];
        match all.into_iter().find(|(_, given, max)| !(1..=*max).contains(given)) {
            Some((field, given, max)) => Err(BadPolicy { field, given, min: 1, max }),
            None => Ok(()),
        }
    }

    /// The pause before attempt `number` (2 and up) of an order that has been started `generation` times. The
    /// same for the same arguments; over orders evenly spread between half of what is meant and all of it.
    #[must_use]
    pub fn pause_ms(&self, order: OrderId, generation: i32, number: u32) -> u64 {
        let doubled = 2_u64.checked_pow(number.saturating_sub(2)).unwrap_or(u64::MAX);
        let longest = self.first_ms.saturating_mul(doubled).min(self.max_ms).min(MAX_MS);
        let half = longest / 2;
        half + spread(order, generation) % (longest - half + 1)
    }
}

/// A number that is the same for the same order and generation, and any for others (the finish of SplitMix64).
fn spread(order: OrderId, generation: i32) -> u64 {
    let (high, low) = order.0.as_u64_pair();
    let generation = u64::from(generation.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut mixed = high ^ low.rotate_left(32) ^ generation;
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        mixed = (mixed ^ (mixed >> shift)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 31)
}

/// Where an order is in its attempts. A series begins when somebody gives the order its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Series {
    /// Attempts of the series that nobody asked for: 0 while the first one lasts.
    pub retries: u32,
    /// When the first one began.
    pub began: Option<Timestamp>,
    /// How often the order has been started in all.
    pub generation: i32,
}

/// An attempt that is owed to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Which of its series, from 2.
    pub number: u32,
    /// How many there may be.
    pub of: u32,
    /// Not before then.
    pub at: Timestamp,
}

/// The next attempt of an order whose attempt has ended at `now` with `failures`, leaving every device as it
/// was; none: it has had them all, its time is up, or trying again would not help.
#[must_use]
pub fn next(
    policy: &RetryPolicy,
    order: OrderId,
    series: Series,
    failures: &[Failure],
    now: Timestamp,
) -> Option<Attempt> {
    let number = series.retries.checked_add(2)?;
    if number > policy.attempts || !is_worth_it(failures) {
        return None;
    }
    let pause = i64::try_from(policy.pause_ms(order, series.generation, number)).ok()?;
    let total = i64::try_from(policy.total_ms).ok()?;
    let at = now.checked_add(SignedDuration::from_millis(pause)).ok()?;
    let last = series.began.unwrap_or(now).checked_add(SignedDuration::from_millis(total)).ok()?;
    (at <= last).then_some(Attempt { number, of: policy.attempts, at })
}

/// Whether all that went wrong may be gone by itself later. What was only undone with others is not to blame.
fn is_worth_it(failures: &[Failure]) -> bool {
    let mut causes = failures.iter().filter(|failure| failure.class != FailureClass::Undone).peekable();
    causes.peek().is_some() && causes.all(|failure| failure.class.worth_retrying())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts: 4, first_ms: 10_000, max_ms: 30_000, total_ms: 600_000 };

    fn order(n: u128) -> OrderId {
        OrderId(Uuid::from_u128(n))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn failed(classes: &[FailureClass]) -> Vec<Failure> {
        classes.iter().map(|class| Failure::new(*class, "connect", "refused")).collect()
    }

    fn series(retries: u32) -> Series {
        Series { retries, began: Some(at(0)), generation: 7 }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        use FailureClass as C;
        let gets = |classes: &[C]| next(&POLICY, order(1), series(0), &failed(classes), at(1)).is_some();
        for class in C::ALL {
            let wanted = matches!(class, C::Busy | C::Unreachable);
            assert_eq!(gets(&[*class]), wanted, "{class}");
            assert_eq!(gets(&[C::Busy, *class]), wanted || *class == C::Undone, "{class}");
        }
        assert!(gets(&[C::Undone, C::Unreachable, C::Busy]) && !gets(&[]));
    }

    #[test]
    fn attempts_run_out() {
        let failures = failed(&[FailureClass::Busy]);
        let after = |retries| next(&POLICY, order(1), series(retries), &failures, at(1));
        let numbers: Vec<_> = (0..5).map(|n| after(n).map(|next| (next.number, next.of))).collect();
        assert_eq!(numbers, [Some((2, 4)), Some((3, 4)), Some((4, 4)), None, None]);
        let none = RetryPolicy::NONE;
        assert_eq!(next(&none, order(1), series(0), &failures, at(0)), None);
        assert_eq!(none.check(), Ok(()));
    }

    #[test]
    fn time_runs_out() {
        let failures = failed(&[FailureClass::Unreachable]);
        let ended = |seconds| next(&POLICY, order(1), series(0), &failures, at(seconds));
        assert!(ended(589).is_some_and(|next| next.at <= at(600)));
        assert_eq!(ended(596), None, "5 s at least would be waited");
        // A release before this one has started it: its time counts from now.
        let unknown = Series { began: None, ..series(0) };
        assert!(next(&POLICY, order(1), unknown, &failures, at(5000)).is_some());
    }

    #[test]
    fn changes_are_made_key_by_key() {
        let changes = RetryChanges { attempts: Some(9), total_ms: Some(5), ..RetryChanges::default() };
        let changed = POLICY.with(&changes);
        assert_eq!(changed, RetryPolicy { attempts: 9, first_ms: 10_000, max_ms: 30_000, total_ms: 5 });
        assert_eq!(POLICY.with(&RetryChanges::default()), POLICY);
    }

    #[test]
    fn impossible_policies_are_refused() {
        assert_eq!(RetryPolicy::default().check(), Ok(()));
        for changes in [
            RetryChanges { attempts: Some(0), ..RetryChanges::default() },
            RetryChanges { attempts: Some(101), ..RetryChanges::default() },
            RetryChanges { first_ms: Some(0), ..RetryChanges::default() },
            RetryChanges { max_ms: Some(MAX_MS + 1), ..RetryChanges::default() },
            RetryChanges { total_ms: Some(0), ..RetryChanges::default() },
        ] {
            assert!(POLICY.with(&changes).check().is_err(), "{changes:?}");
        }
        let error = POLICY.with(&RetryChanges { attempts: Some(0), ..RetryChanges::default() }).check();
        assert_eq!(error.unwrap_err().to_string(), "attempts is 0, but must be from 1 to 100");
    }

    #[test]
    fn those_who_failed_together_come_back_one_by_one() {
        let pauses: Vec<u64> = (0..1000).map(|n| POLICY.pause_ms(order(n), 1, 2)).collect();
        let in_eighth = |n: u64| {
            let from = 5000 + n * 625;
            pauses.iter().filter(|pause| (from..from + 625).contains(*pause)).count()
        };
        let spread: Vec<usize> = (0..8).map(in_eighth).collect();
        assert!(spread.iter().all(|count| (80..=170).contains(count)), "{spread:?}");
        assert_ne!(POLICY.pause_ms(order(1), 1, 2), POLICY.pause_ms(order(1), 2, 2));
    }

    proptest! {
        #[test]
        fn a_pause_is_between_half_and_all_of_what_is_meant(
            id: u128, generation: i32, number in 2..200_u32, first in 1..MAX_MS, max in 1..MAX_MS
        ) {
            let policy = RetryPolicy { first_ms: first, max_ms: max, ..POLICY };
            let meant = (0..number - 2).fold(first, |pause, _| pause.saturating_mul(2)).min(max);
            let pause = policy.pause_ms(order(id), generation, number);
            prop_assert!((meant / 2..=meant).contains(&pause), "{pause} of {meant}");
            prop_assert_eq!(pause, policy.pause_ms(order(id), generation, number));
        }

        /// Whatever a policy says: no attempt too many, none too late, none at once.
        #[test]
        fn an_attempt_keeps_to_the_policy(
            id: u128, retries in 0..200_u32, attempts in 1..=MAX_ATTEMPTS,
            first in 1..MAX_MS, max in 1..MAX_MS, total in 1..MAX_MS, ended_s in 0..10_000_000_i64
        ) {
            let policy = RetryPolicy { attempts, first_ms: first, max_ms: max, total_ms: total };
            let failures = failed(&[FailureClass::Busy]);
            if let Some(next) = next(&policy, order(id), series(retries), &failures, at(ended_s)) {
                prop_assert_eq!(next.number, retries + 2);
                prop_assert!(next.number <= attempts && next.at >= at(ended_s));
                let total = SignedDuration::from_millis(i64::try_from(total).unwrap());
                prop_assert!(next.at <= at(0) + total);
            }
        }
    }
}
