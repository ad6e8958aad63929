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
    /// The order that holds it or has asked earlier.
    pub order: OrderId,
}

/// The answer to one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Takes all its devices now.
    Start,
    /// Waits; says for whom.
    Wait(Vec<InFront>),
}

/// Decides for all `candidates` at once. Those with a ticket come in ticket order, then the others
/// as given. A candidate starts when each of its devices is free and nobody who asked earlier
/// waits for it; as tickets order all orders alike on every device, waiting can't be circular.
#[must_use]
pub fn admit(candidates: &[Candidate], board: &Board) -> Vec<Admission> {
    let mut held = board.held.clone();
    let mut newcomers: BTreeMap<&DeviceName, OrderId> = BTreeMap::new();
    let mut answers = vec![Admission::Start; candidates.len()];
    let mut turn: Vec<usize> = (0..candidates.len()).collect();
    turn.sort_by_key(|i| (candidates[*i].ticket.is_none(), candidates[*i].ticket, *i));
    let mut started = BTreeSet::new();
    for i in turn {
        let candidate = &candidates[i];
        let in_front: Vec<InFront> = candidate
            .devices
            .iter()
            .filter_map(|device| {
                let holder = held.get(device).filter(|order| **order != candidate.order);
                let earlier = || {
                    board.waiting.get(device)?.iter().find_map(|(ticket, order)| {
                        let before = candidate.ticket.is_none_or(|own| *ticket < own);
                        (before && *order != candidate.order && !started.contains(order)).then_some(order)
                    })
                };
                let newcomer = || newcomers.get(device);
                let order = holder.or_else(earlier).or_else(newcomer)?;
                Some(InFront { device: device.clone(), order: *order })
            })
            .collect();
        if in_front.is_empty() {
            held.extend(candidate.devices.iter().map(|device| (device.clone(), candidate.order)));
            started.insert(candidate.order);
        } else {
            for device in &candidate.devices {
                newcomers.entry(device).or_insert(candidate.order);
            }
            answers[i] = Admission::Wait(in_front);
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
        assert_eq!(answers[1], Admission::Wait(vec![InFront { device: device(2), order: order(1) }]));
        // 3 asked later than 2 for device 3, so it waits although the device is free.
        assert_eq!(answers[2], Admission::Wait(vec![InFront { device: device(3), order: order(2) }]));
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

    proptest! {
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
