//! Who may touch a device: leases, all of an order's devices or none, first come first served.
//!
//! Architecture invariant: at most one order holds a device at any time. The decision is made
//! here, over rows that the store has locked; the database's primary key says the same once more.

use std::collections::{BTreeMap, BTreeSet};

use crate::{id::OrderId, name::DeviceName};

/// An order that is due and asks for its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The order.
    pub order: OrderId,
    /// Its devices.
    pub devices: BTreeSet<DeviceName>,
    /// Its place in the queue if it has asked before: lower came earlier.
    pub ticket: Option<i64>,
}

/// What the store knows of the devices that the candidates ask for.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// Device → order that holds it.
    pub held: BTreeMap<DeviceName, OrderId>,
    /// Device → orders that wait for it by ticket, the candidates among them included.
    pub waiting: BTreeMap<DeviceName, BTreeMap<i64, OrderId>>,
}

/// Why a candidate has to wait: who is in front of it, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InFront {
    /// The device both want.
    pub device: DeviceName,
    /// The order that holds it or has asked earlier; of a device exam its id.
    pub order: OrderId,
    /// A device exam holds it, and no order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_exam: bool,
}

/// The answer to one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Takes all its devices now.
    Start,
    /// Goes along with the candidate at this place, which starts: the devices are theirs together.
    Join(usize),
    /// Waits; says for whom.
    Wait(Vec<InFront>),
}

/// Who goes along with whom: [`admit_groups`] asks when the devices would allow it.
pub trait Company {
    /// Whether the candidate at place `newcomer` may go along with those at `group`, the first of which is
    /// the one that starts. If so it is one of them from now on.
    fn takes(&mut self, group: &[usize], newcomer: usize) -> bool;
}

/// Everyone goes alone.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Company for Alone {
    fn takes(&mut self, _: &[usize], _: usize) -> bool {
        false
    }
}

/// Decides for all `candidates` at once. Those with a ticket come in ticket order, then the others
/// as given. A candidate starts when each of its devices is free and nobody who asked earlier
/// waits for it; as tickets order all orders alike on every device, waiting can't be circular.
#[must_use]
pub fn admit(candidates: &[Candidate], board: &Board) -> Vec<Admission> {
    admit_groups(candidates, board, &mut Alone)
}

/// As [`admit`], with groups: a candidate that would wait only for one that starts now, and shares a device
/// with that one, goes along with it if `company` takes it. So on every device those who go together are
/// the first in line, without a gap: nobody is overtaken.
#[must_use]
pub fn admit_groups(candidates: &[Candidate], board: &Board, company: &mut dyn Company) -> Vec<Admission> {
    let mut held = board.held.clone();
    let mut newcomers: BTreeMap<&DeviceName, OrderId> = BTreeMap::new();
    let mut answers = vec![Admission::Start; candidates.len()];
    let mut turn: Vec<usize> = (0..candidates.len()).collect();
    turn.sort_by_key(|i| (candidates[*i].ticket.is_none(), candidates[*i].ticket, *i));
    let mut started = BTreeSet::new();
    // Groups by their first, and whose a device is that was free before.
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut taken: BTreeMap<&DeviceName, usize> = BTreeMap::new();
    for i in turn {
        let candidate = &candidates[i];
        // Who is in front on a device, but for those who hold it.
        let queued = |device: &DeviceName| {
            let earlier = || {
                board.waiting.get(device)?.iter().find_map(|(ticket, order)| {
                    let before = candidate.ticket.is_none_or(|own| *ticket < own);
                    (before && *order != candidate.order && !started.contains(order)).then_some(order)
                })
            };
            earlier().or_else(|| newcomers.get(device)).copied()
        };
        let in_front: Vec<InFront> = candidate
            .devices
            .iter()
            .filter_map(|device| {
                let holder = held.get(device).filter(|order| **order != candidate.order).copied();
                let order = holder.or_else(|| queued(device))?;
                Some(InFront { device: device.clone(), order, is_exam: false })
            })
            .collect();
        let first = if in_front.is_empty() {
            Some(i)
        } else {
            let only = candidate.devices.iter().find_map(|device| taken.get(device)).copied();
            only.filter(|first| {
                let shared = candidates[*first].devices.intersection(&candidate.devices).next().is_some();
                let free = |device: &DeviceName| {
                    let ours = taken.get(device) == Some(first);
                    (ours || !held.contains_key(device)) && queued(device).is_none()
                };
                shared && candidate.devices.iter().all(free)
            })
            .filter(|first| groups.get(first).is_some_and(|group| company.takes(group, i)))
        };
        match first {
            Some(first) => {
                for device in &candidate.devices {
                    held.entry(device.clone()).or_insert(candidate.order);
                    taken.entry(device).or_insert(first);
                }
                started.insert(candidate.order);
                groups.entry(first).or_default().push(i);
                if first != i {
                    answers[i] = Admission::Join(first);
                }
            }
            None => {
                for device in &candidate.devices {
                    newcomers.entry(device).or_insert(candidate.order);
                }
                answers[i] = Admission::Wait(in_front);
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn order(n: u128) -> OrderId {
        OrderId(Uuid::from_u128(n))
    }

    fn device(n: u8) -> DeviceName {
        DeviceName::new(format!("d{n}")).unwrap()
    }

    fn candidate(n: u128, devices: &[u8], ticket: Option<i64>) -> Candidate {
        Candidate { order: order(n), devices: devices.iter().map(|d| device(*d)).collect(), ticket }
    }

    #[test]
    fn all_or_none_and_first_come_first_served() {
        let candidates = [
            candidate(1, &[1, 2], None),
            candidate(2, &[2, 3], None),
            candidate(3, &[3], None),
            candidate(4, &[4], None),
        ];
        let answers = admit(&candidates, &Board::default());
        assert_eq!(answers[0], Admission::Start);
        assert_eq!(
            answers[1],
            Admission::Wait(vec![InFront { device: device(2), order: order(1), is_exam: false }])
        );
        // 3 asked later than 2 for device 3, so it waits although the device is free.
        assert_eq!(
            answers[2],
            Admission::Wait(vec![InFront { device: device(3), order: order(2), is_exam: false }])
        );
        assert_eq!(answers[3], Admission::Start);
    }

    #[test]
    fn a_ticket_goes_before_a_newcomer() {
        let mut board = Board::default();
        board.waiting.insert(device(1), BTreeMap::from([(7, order(1))]));
        let answers = admit(&[candidate(2, &[1], None), candidate(1, &[1], Some(7))], &board);
        assert_eq!(answers[1], Admission::Start);
        assert!(matches!(answers[0], Admission::Wait(_)));
    }

    /// Takes everyone, up to a number.
    struct UpTo(usize);

    impl Company for UpTo {
        fn takes(&mut self, group: &[usize], _: usize) -> bool {
            group.len() < self.0
        }
    }

    #[test]
    fn who_waits_for_the_same_goes_along_and_nobody_is_overtaken() {
        let candidates = [
            candidate(1, &[1, 2], None),
            candidate(2, &[1], None),
            candidate(3, &[1, 3], None),
            candidate(4, &[3, 4], None), // Shares nothing with the first.
            candidate(5, &[1, 4], None), // Behind 4 on device 4.
            candidate(6, &[2, 5], None), // 5 is held by someone else.
            candidate(7, &[2], None),    // Behind 6.
        ];
        let mut board = Board::default();
        board.held.insert(device(5), order(99));
        let answers = admit_groups(&candidates, &board, &mut UpTo(10));
        assert_eq!(answers[..3], [Admission::Start, Admission::Join(0), Admission::Join(0)]);
        for (waiting, before, at) in [(3, 3, 3), (5, 99, 5)] {
            let in_front =
                Admission::Wait(vec![InFront { device: device(at), order: order(before), is_exam: false }]);
            match &answers[waiting] {
                Admission::Wait(all) => {
                    assert!(all.contains(&InFront {
                        device: device(at),
                        order: order(before),
                        is_exam: false
                    }))
                }
                other => panic!("{other:?} and not {in_front:?}"),
            }
        }
        assert!(matches!(answers[4], Admission::Wait(_)) && matches!(answers[6], Admission::Wait(_)));
        let answers = admit_groups(&candidates[..3], &Board::default(), &mut UpTo(2));
        assert!(matches!(answers[..], [Admission::Start, Admission::Join(0), Admission::Wait(_)]));
    }

    #[test]
    fn nobody_goes_along_past_one_who_waits_and_is_not_of_the_batch() {
        let mut board = Board::default();
        board.waiting.insert(device(1), BTreeMap::from([(1, order(1)), (2, order(9)), (3, order(3))]));
        let candidates = [candidate(1, &[1], Some(1)), candidate(3, &[1], Some(3))];
        let answers = admit_groups(&candidates, &board, &mut UpTo(10));
        assert_eq!(answers[0], Admission::Start);
        assert!(matches!(answers[1], Admission::Wait(_)));
    }

    proptest! {
        /// Over any history: a device is never shared by two groups, those of a group all share a device
        /// with its first, and on no device does anyone start before one who asked earlier.
        #[test]
        fn groups_are_exclusive_and_fair(
            wants in proptest::collection::vec((proptest::collection::btree_set(0_u8..6, 1..4), any::<bool>()), 1..30),
            most in 1_usize..6,
        ) {
            let mut board = Board::default();
            let candidates: Vec<Candidate> = wants.iter().enumerate().map(|(n, (devices, waits))| {
                let ticket = waits.then_some(n as i64);
                let c = candidate(n as u128, &devices.iter().copied().collect::<Vec<_>>(), ticket);
                if let Some(ticket) = ticket {
                    for d in &c.devices { board.waiting.entry(d.clone()).or_default().insert(ticket, c.order); }
                }
                c
            }).collect();
            let answers = admit_groups(&candidates, &board, &mut UpTo(most));
            let first_of = |i: usize| match answers[i] {
                Admission::Start => Some(i),
                Admission::Join(first) => Some(first),
                Admission::Wait(_) => None,
            };
            let mut turn: Vec<usize> = (0..candidates.len()).collect();
            turn.sort_by_key(|i| (candidates[*i].ticket.is_none(), candidates[*i].ticket, *i));
            for d in (0_u8..6).map(device) {
                let queue: Vec<Option<usize>> = turn.iter().filter(|i| candidates[**i].devices.contains(&d))
                    .map(|i| first_of(*i)).collect();
                let begun: Vec<usize> = queue.iter().copied().map_while(|first| first).collect();
                prop_assert!(queue[begun.len()..].iter().all(Option::is_none), "somebody was overtaken at {d}");
                prop_assert!(begun.windows(2).all(|pair| pair[0] == pair[1]), "two groups at {d}");
            }
            for (i, first) in (0..candidates.len()).filter_map(|i| Some((i, first_of(i)?))) {
                prop_assert_eq!(first_of(first), Some(first));
                prop_assert!(candidates[i].devices.intersection(&candidates[first].devices).next().is_some());
                let size = (0..candidates.len()).filter(|k| first_of(*k) == Some(first)).count();
                prop_assert!(size <= most);
            }
        }

        /// Over any history of asking and giving back: nobody shares a device, and everyone gets
        /// a turn in the end.
        #[test]
        fn exclusive_and_live(wants in proptest::collection::vec(proptest::collection::btree_set(0_u8..6, 1..4), 1..30)) {
            let mut board = Board::default();
            let mut pending: Vec<Candidate> = wants.iter().enumerate()
                .map(|(n, devices)| candidate(n as u128, &devices.iter().copied().collect::<Vec<_>>(), None)).collect();
            let mut next_ticket = 0;
            for _round in 0..=wants.len() {
                if pending.is_empty() { break; }
                let answers = admit(&pending, &board);
                let mut taken = BTreeSet::new();
                let mut left = Vec::new();
                for (mut c, answer) in pending.into_iter().zip(answers) {
                    if answer == Admission::Start {
                        for d in &c.devices { prop_assert!(taken.insert(d.clone()), "{d} taken twice"); }
                        if let Some(ticket) = c.ticket {
                            for d in &c.devices { board.waiting.get_mut(d).unwrap().remove(&ticket); }
                        }
                    } else {
                        let ticket = c.ticket.unwrap_or_else(|| { next_ticket += 1; next_ticket });
                        c.ticket = Some(ticket);
                        for d in &c.devices { board.waiting.entry(d.clone()).or_default().insert(ticket, c.order); }
                        left.push(c);
                    }
                }
                prop_assert!(!taken.is_empty(), "somebody must move");
                pending = left; // All that started give back before the next round.
            }
            prop_assert!(pending.is_empty());
        }
    }
}
