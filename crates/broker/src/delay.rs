//! Delayed delivery by a ladder of queues (design: "the ladder brings it near, the hold makes it
//! exact").
//!
//! Level L holds a message for `2^L` seconds and then hands it to level L-1. A message that is to
//! wait `n` seconds is published to the level of the highest set bit of `n`; its routing key
//! spells all the bits, so that every level below knows whether to hold it too or to pass it on.
//! Every queue has one fixed time to live: no message waits behind another.
//!
//! The key always has [`MAX_LEVELS`] bits, however many levels are configured. So levels can be
//! added later while messages are on the ladder.

use crate::message::Outgoing;
use crate::names::Names;

/// Levels when nothing is configured: delays up to 12 days.
pub const DEFAULT_LEVELS: u8 = 20;

/// The most levels: delays up to 388 days.
pub const MAX_LEVELS: u8 = 25;

/// The longest delay that a ladder of so many levels can make, in seconds.
#[must_use]
pub fn reach_s(levels: u8) -> u32 {
    (1_u32 << levels.min(MAX_LEVELS)) - 1
}

/// Time for which level `level` holds a message, in milliseconds.
#[must_use]
pub fn level_ttl_ms(level: u8) -> i64 {
    1000_i64 << level.min(MAX_LEVELS - 1)
}

/// Where a delayed message enters the ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The exchange of this level.
    Level(u8),
    /// No wait at all: the exchange at the ladder's foot.
    Out,
}

/// Why a delay is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a delay of {delay_s} s is out of the ladder's reach of {reach_s} s; let it wait in the store, or raise broker.ladder_levels"
)]
pub struct OutOfReach {
    /// What was asked for, in seconds.
    pub delay_s: u32,
    /// What the ladder can, in seconds.
    pub reach_s: u32,
}

/// The level at which a message that waits `delay_s` seconds enters a ladder of `levels` levels.
///
/// # Errors
/// [`OutOfReach`] when the ladder isn't long enough.
pub fn entry(delay_s: u32, levels: u8) -> Result<Entry, OutOfReach> {
    let reach_s = reach_s(levels);
    if delay_s > reach_s {
        return Err(OutOfReach { delay_s, reach_s });
    }
    Ok(match delay_s.checked_ilog2() {
        // ilog2 of a u32 is at most 31.
        Some(bit) => Entry::Level(u8::try_from(bit).unwrap_or(u8::MAX)),
        None => Entry::Out,
    })
}

/// The routing key of a message that waits `delay_s` seconds and then goes to `address`: the bits
/// from the highest level down, then the address.
#[must_use]
pub fn routing_key(delay_s: u32, address: &str) -> String {
    let mut key = String::with_capacity(usize::from(MAX_LEVELS) * 2 + address.len());
    for level in (0..MAX_LEVELS).rev() {
        key.push(if delay_s >> level & 1 == 1 { '1' } else { '0' });
        key.push('.');
    }
    key.push_str(address);
    key
}

/// Binding key under which level `level` takes messages (`bit` = true: to be held) or passes them
/// on (`bit` = false).
#[must_use]
pub fn level_pattern(level: u8, bit: bool) -> String {
    let above = usize::from(MAX_LEVELS.saturating_sub(1).saturating_sub(level));
    let mut pattern = "*.".repeat(above);
    pattern.push_str(if bit { "1.#" } else { "0.#" });
    pattern
}

/// Binding key under which the ladder's foot gives messages to `address`.
#[must_use]
pub fn out_pattern(address: &str) -> String {
    format!("#.{address}")
}

/// Addresses messages to wait `delay_s` seconds and then to arrive in the queue with this address
/// (a queue's name without the prefix: `due`, `intake`, `state.3`, `deploy.eu-west.normal`).
///
/// # Errors
/// [`OutOfReach`] when the ladder isn't long enough.
pub fn delayed(
    names: &Names,
    levels: u8,
    delay_s: u32,
    address: &str,
    message: Outgoing,
) -> Result<Outgoing, OutOfReach> {
    let exchange = match entry(delay_s, levels)? {
        Entry::Level(level) => names.delay_level(level),
        Entry::Out => names.delay_out(),
    };
    Ok(Outgoing { exchange, routing_key: routing_key(delay_s, address), ..message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// AMQP topic matching (as RabbitMQ does it), to run the ladder in memory.
    fn matches(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => {
                matches(rest, key) || key.split_first().is_some_and(|(_, k)| matches(pattern, k))
            }
            (Some((&"*", rest)), Some((_, k))) => matches(rest, k),
            (Some((word, rest)), Some((first, k))) => word == first && matches(rest, k),
            _ => false,
        }
    }

    fn topic(pattern: &str, key: &str) -> bool {
        matches(&pattern.split('.').collect::<Vec<_>>(), &key.split('.').collect::<Vec<_>>())
    }

    /// Runs a message down the ladder by its bindings: how long it is held in all, in seconds.
    fn walk(delay_s: u32, levels: u8) -> u64 {
        let key = routing_key(delay_s, "due");
        let mut held_ms = 0;
        let start = match entry(delay_s, levels).unwrap() {
            Entry::Level(level) => level,
            Entry::Out => return 0,
        };
        for level in (0..=start).rev() {
            let hold = topic(&level_pattern(level, true), &key);
            let pass = topic(&level_pattern(level, false), &key);
            assert!(hold ^ pass, "exactly one way on at level {level} for {key}");
            if hold {
                held_ms += level_ttl_ms(level);
            }
        }
        assert!(topic(&out_pattern("due"), &key));
        u64::try_from(held_ms / 1000).unwrap()
    }

    #[test]
    fn every_single_bit_and_its_neighbours_wait_exactly_so_long() {
        for levels in [1, 5, DEFAULT_LEVELS, MAX_LEVELS] {
            for bit in 0..levels {
                for delay_s in [(1_u32 << bit) - 1, 1 << bit, (1 << bit) + 1] {
                    if delay_s <= reach_s(levels) {
                        assert_eq!(walk(delay_s, levels), u64::from(delay_s));
                    }
                }
            }
            assert_eq!(walk(reach_s(levels), levels), u64::from(reach_s(levels)));
        }
    }

    /// The whole range of the largest ladder, by arithmetic alone (33 million values).
    #[test]
    fn over_the_full_range_the_key_spells_the_delay() {
        for delay_s in 0..=reach_s(MAX_LEVELS) {
            match entry(delay_s, MAX_LEVELS).unwrap() {
                Entry::Out => assert_eq!(delay_s, 0),
                Entry::Level(level) => {
                    // The entry level holds, and no higher level is needed.
                    assert_eq!(delay_s >> level, 1);
                }
            }
        }
        for delay_s in (0..=reach_s(MAX_LEVELS)).step_by(997) {
            let key = routing_key(delay_s, "a.b");
            let (bits, address) = key.split_at(usize::from(MAX_LEVELS) * 2);
            let bits: String = bits.split('.').collect();
            assert_eq!(u32::from_str_radix(&bits, 2).unwrap(), delay_s);
            assert_eq!(address, "a.b");
        }
    }

    proptest! {
        #[test]
        fn any_delay_walks_exactly(delay_s in 0..=reach_s(MAX_LEVELS)) {
            prop_assert_eq!(walk(delay_s, MAX_LEVELS), u64::from(delay_s));
        }

        #[test]
        fn out_of_reach_is_refused(levels in 1..=MAX_LEVELS, beyond in 0_u32..1000) {
            let reach = reach_s(levels);
            prop_assert!(entry(reach, levels).is_ok());
            prop_assert_eq!(
                entry(reach + 1 + beyond, levels),
                Err(OutOfReach { delay_s: reach + 1 + beyond, reach_s: reach })
            );
        }
    }

    #[test]
    fn an_address_is_never_taken_for_another() {
        let addresses = ["due", "intake", "state.0", "state.7", "deploy.eu-west.bulk", "deploy.due.bulk"];
        for to in addresses {
            for bound in addresses {
                assert_eq!(topic(&out_pattern(bound), &routing_key(5, to)), to == bound, "{to} {bound}");
            }
        }
    }

    #[test]
    fn reaches() {
        assert_eq!(reach_s(20), 1_048_575);
        assert_eq!(reach_s(25) / 86_400, 388);
        assert_eq!(level_ttl_ms(0), 1000);
        assert_eq!(level_ttl_ms(24), 16_777_216_000);
    }
}
