//! Holds what arrived early until its exact instant.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Things by the instant at which they are due. Those due at the same instant keep their order.
#[derive(Debug)]
pub(crate) struct Hold<T> {
    held: BTreeMap<(Timestamp, u64), T>,
    count: u64,
}

impl<T> Hold<T> {
    pub(crate) const fn new() -> Self {
        Self { held: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn put(&mut self, due: Timestamp, thing: T) {
        self.count += 1;
        self.held.insert((due, self.count), thing);
    }

    /// The next instant at which something is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.held.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes at most `max` of what is due at `now`, earliest first.
    pub(crate) fn take_due(&mut self, now: Timestamp, max: usize) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(first) = self.held.first_entry()
            && first.key().0 <= now
        {
            taken.push(first.remove());
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_leaves_early_nothing_stays_late(dues in proptest::collection::vec(0_i64..50, 0..60), steps in proptest::collection::vec(0_i64..20, 1..20)) {
            let at = |s| Timestamp::from_second(s).unwrap();
            let mut hold = Hold::new();
            for due in &dues { hold.put(at(*due), *due); }
            let (mut now, mut seen) = (0, Vec::new());
            for step in steps {
                now += step;
                let taken = hold.take_due(at(now), usize::MAX);
                prop_assert!(taken.iter().all(|due| *due <= now));
                prop_assert!(hold.next().is_none_or(|next| next > at(now)));
                seen.extend(taken);
            }
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            prop_assert_eq!(seen, sorted);
        }
    }

    #[test]
    fn a_batch_is_bounded_and_keeps_the_order() {
        let mut hold = Hold::new();
        let due = Timestamp::from_second(5).unwrap();
        for n in 0..5 {
            hold.put(due, n);
        }
        assert_eq!(hold.take_due(due, 3), [0, 1, 2]);
        assert_eq!(hold.take_due(due, 3), [3, 4]);
    }
}
