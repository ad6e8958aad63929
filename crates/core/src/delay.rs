//! When a scheduled order goes where: straight to the scheduler, on the delay ladder, or it waits
//! in the status store until the ladder reaches far enough (3-messaging, "Delayed delivery").

use jiff::{SignedDuration, Timestamp};

/// Longest time ahead for which an order may be scheduled.
pub const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24 * 366 * 20);

/// Where a due message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To the scheduler's queue at once; the scheduler holds it to the exact instant.
    Direct,
    /// On the ladder for this many whole seconds, after which it is early by the lead at least.
    Ladder {
        /// Whole seconds, at least 1.
        delay_s: u32,
    },
    /// Further ahead than the ladder reaches: stays in the store and is asked about again.
    Later,
}

/// Chooses the route for a message due at `due`.
///
/// The ladder's target is `lead` before `due`, rounded down to whole seconds, so that the message
/// always arrives early and the hold makes it exact. `reach_s` is the longest delay of the ladder.
#[must_use]
pub fn route(now: Timestamp, due: Timestamp, lead: SignedDuration, reach_s: u32) -> Route {
    let early_by = due.duration_since(now).saturating_sub(lead);
    match early_by.as_secs() {
        i64::MIN..=0 => Route::Direct,
        seconds => match u32::try_from(seconds) {
            Ok(delay_s) if delay_s <= reach_s => Route::Ladder { delay_s },
            _ => Route::Later,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REACH_S: u32 = (1 << 20) - 1;
    const LEAD: SignedDuration = SignedDuration::from_secs(15);

    proptest! {
        /// Whatever the time: a message never arrives later than `lead` before it is due, and is
        /// on its way less than a second too early.
        #[test]
        fn arrives_early_but_not_too_early(ahead_ms in -10_000_000_i64..40_000_000_000_000) {
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let due = now + SignedDuration::from_millis(ahead_ms);
            match route(now, due, LEAD, REACH_S) {
                Route::Direct => prop_assert!(ahead_ms < 16_000),
                Route::Ladder { delay_s } => {
                    let left_ms = ahead_ms - i64::from(delay_s) * 1000;
                    prop_assert!((15_000..16_000).contains(&left_ms), "{left_ms}");
                    prop_assert!((1..=REACH_S).contains(&delay_s));
                }
                Route::Later => prop_assert!(ahead_ms / 1000 > i64::from(REACH_S)),
            }
        }
    }

    #[test]
    fn edges() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |s| route(now, now + SignedDuration::from_secs(s), LEAD, REACH_S);
        assert_eq!(at(-5), Route::Direct);
        assert_eq!(at(15), Route::Direct);
        assert_eq!(at(16), Route::Ladder { delay_s: 1 });
        assert_eq!(at(15 + i64::from(REACH_S)), Route::Ladder { delay_s: REACH_S });
        assert_eq!(at(16 + i64::from(REACH_S)), Route::Later);
    }
}
