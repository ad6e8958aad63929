//! Which publishes count as done: confirms matched with returns.
//!
//! The broker sends `basic.return` before the confirm of the same message. lapin queues returns
//! and hands the oldest to whichever confirm completes next, so a confirm may carry the return of
//! another message, and the message itself then looks cleanly confirmed. What follows from that:
//!
//! - A confirm without a return proves that lapin's queue was empty then. If all confirms that
//!   completed earlier have been looked at, the message's own return has been seen or there is none.
//! - A confirm with another message's return proves nothing about its own. It is held until every
//!   message that was outstanding at that moment has been confirmed: each of them takes a return
//!   out of the queue, first in, first out.
//!
//! Pure; the owner task of the publisher calls it with what it took from lapin.

use std::collections::BTreeMap;

use crate::error::PublishError;

/// A message that the broker gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) message_id: String,
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) reason: String,
}

/// A confirm as lapin reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confirm {
    /// Acknowledged, rather than refused.
    pub(crate) ack: bool,
    /// A return that came with it, of this message or of another.
    pub(crate) returned: Option<Returned>,
}

#[derive(Debug)]
enum Stage {
    /// No confirm yet.
    Outstanding,
    /// Confirmed, but its return may still be in lapin's queue until no message up to `until`
    /// is outstanding.
    Held { ack: bool, until: u64 },
}

#[derive(Debug)]
struct Slot<T> {
    message_id: String,
    exchange: String,
    routing_key: String,
    ticket: T,
    stage: Stage,
    returned: Option<String>,
}

/// The messages of one channel that are not settled yet, by publish number.
#[derive(Debug)]
pub(crate) struct Window<T> {
    slots: BTreeMap<u64, Slot<T>>,
    outstanding: usize,
    last: u64,
}

/// A message with its fate.
pub(crate) type Settlement<T> = (T, Result<(), PublishError>);

impl<T> Window<T> {
    pub(crate) fn new() -> Self {
        Self { slots: BTreeMap::new(), outstanding: 0, last: 0 }
    }

    /// Messages not settled yet.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Notes a message as published; returns its number.
    pub(crate) fn sent(
        &mut self,
        message_id: String,
        exchange: String,
        routing_key: String,
        ticket: T,
    ) -> u64 {
        self.last += 1;
        let slot =
            Slot { message_id, exchange, routing_key, ticket, stage: Stage::Outstanding, returned: None };
        self.slots.insert(self.last, slot);
        self.outstanding += 1;
        self.last
    }

    /// The message was never written.
    pub(crate) fn not_written(&mut self, number: u64) -> Option<T> {
        let slot = self.slots.remove(&number)?;
        if matches!(slot.stage, Stage::Outstanding) {
            self.outstanding -= 1;
        }
        Some(slot.ticket)
    }

    /// Takes confirms in: *all* that have completed so far, so that no completed confirm with
    /// another message's return is unseen. Returns what is settled by them.
    pub(crate) fn confirmed(&mut self, confirms: Vec<(u64, Confirm)>) -> Vec<Settlement<T>> {
        let last = self.last;
        for (number, confirm) in confirms {
            if let Some(returned) = &confirm.returned {
                self.note_return(returned);
            }
            if let Some(slot) = self.slots.get_mut(&number) {
                let until = if confirm.returned.is_some() { last } else { 0 };
                slot.stage = Stage::Held { ack: confirm.ack, until };
                self.outstanding -= 1;
            }
        }
        // Numbers are given in order, so the first outstanding slot has the lowest.
        let lowest = if self.outstanding == 0 {
            u64::MAX
        } else {
            let mut slots = self.slots.iter();
            slots.find(|(_, s)| matches!(s.stage, Stage::Outstanding)).map_or(u64::MAX, |(n, _)| *n)
        };
        let settled = |slot: &Slot<T>| match slot.stage {
            Stage::Outstanding => false,
            Stage::Held { until, .. } => slot.returned.is_some() || until < lowest,
        };
        let done: Vec<u64> = self.slots.iter().filter(|(_, s)| settled(s)).map(|(n, _)| *n).collect();
        done.into_iter().filter_map(|n| self.slots.remove(&n)).map(Self::verdict).collect()
    }

    /// The channel is gone: whatever is not settled may or may not have been published, except
    /// what was sent to an exchange that the broker named as the reason.
    pub(crate) fn lost(&mut self, reason: &str, refused: impl Fn(&str) -> bool) -> Vec<Settlement<T>> {
        self.outstanding = 0;
        std::mem::take(&mut self.slots)
            .into_values()
            .map(|slot| {
                let (exchange, routing_key) = (slot.exchange, slot.routing_key);
                let error = match slot.returned {
                    Some(reason) => PublishError::Returned { exchange, routing_key, reason },
                    None if refused(&exchange) => {
                        PublishError::Returned { exchange, routing_key, reason: reason.to_owned() }
                    }
                    None => PublishError::Uncertain { reason: reason.to_owned() },
                };
                (slot.ticket, Err(error))
            })
            .collect()
    }

    /// Finds whose return it is. Ids may repeat when a caller publishes again what it gave up on;
    /// returns come in the order of publishing, so the oldest without one is meant.
    fn note_return(&mut self, returned: &Returned) {
        let owner = self.slots.values_mut().find(|slot| {
            slot.returned.is_none()
                && slot.message_id == returned.message_id
                && slot.exchange == returned.exchange
                && slot.routing_key == returned.routing_key
        });
        match owner {
            Some(slot) => slot.returned = Some(returned.reason.clone()),
            None => tracing::error!(
                message_id = returned.message_id,
                exchange = returned.exchange,
                "the broker returned a message that is not in the window"
            ),
        }
    }

    fn verdict(slot: Slot<T>) -> Settlement<T> {
        let result = match (slot.returned, slot.stage) {
            (Some(reason), _) => {
                Err(PublishError::Returned { exchange: slot.exchange, routing_key: slot.routing_key, reason })
            }
            (None, Stage::Held { ack: false, .. }) => Err(PublishError::Nacked),
            (None, _) => Ok(()),
        };
        (slot.ticket, result)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn returned(id: &str) -> Returned {
        Returned {
            message_id: id.to_owned(),
            exchange: "e".to_owned(),
            routing_key: "k".to_owned(),
            reason: "NO_ROUTE".to_owned(),
        }
    }

    fn send(window: &mut Window<u64>, id: &str, ticket: u64) -> u64 {
        window.sent(id.to_owned(), "e".to_owned(), "k".to_owned(), ticket)
    }

    const CLEAN: Confirm = Confirm { ack: true, returned: None };

    #[test]
    fn a_return_on_anothers_confirm_finds_its_owner() {
        let mut window = Window::new();
        let a = send(&mut window, "a", 1);
        let b = send(&mut window, "b", 2);
        // b's return came with a's confirm: b is known, a must wait for b's confirm.
        let with_b = Confirm { ack: true, returned: Some(returned("b")) };
        assert!(window.confirmed(vec![(a, with_b)]).is_empty());
        let settled = window.confirmed(vec![(b, CLEAN)]);
        assert_eq!(settled.len(), 2);
        assert_eq!(settled[0], (1, Ok(())));
        assert!(matches!(settled[1], (2, Err(PublishError::Returned { .. }))));
        assert_eq!(window.len(), 0);
    }

    #[test]
    fn a_clean_confirm_is_settled_at_once() {
        let mut window = Window::new();
        send(&mut window, "a", 1);
        let b = send(&mut window, "b", 2);
        assert_eq!(window.confirmed(vec![(b, CLEAN)]), [(2, Ok(()))]);
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn a_lost_channel_makes_the_rest_uncertain_except_what_it_refused() {
        let mut window = Window::new();
        send(&mut window, "a", 1);
        window.sent("b".to_owned(), "gone".to_owned(), "k".to_owned(), 2);
        let settled = window.lost("no exchange 'gone'", |e| e == "gone");
        assert!(settled[0].1.as_ref().is_err_and(PublishError::maybe_published));
        assert!(matches!(settled[1].1, Err(PublishError::Returned { .. })));
    }

    /// lapin's behaviour, as its source has it: returns are queued, and each completing confirm
    /// takes the oldest.
    #[derive(Default)]
    struct Lapin {
        waiting: VecDeque<Returned>,
        completed: Vec<(u64, Confirm)>,
    }

    proptest! {
        /// Whatever the order of returns and confirms, whichever are clean, and whenever we look:
        /// every message gets exactly its own fate, and all are settled when all are confirmed.
        #[test]
        fn every_message_gets_its_own_fate(
            routable in prop::collection::vec(any::<bool>(), 1..40),
            steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut window = Window::new();
            let mut lapin = Lapin::default();
            let mut fates = vec![None; routable.len()];
            // Sent, return not yet in; return in (or none), not confirmed.
            let (mut sent, mut on_wire, mut ready) = (0, VecDeque::new(), Vec::new());
            let settle = |list: Vec<Settlement<u64>>, fates: &mut Vec<Option<bool>>| {
                for (ticket, result) in list {
                    let fate = &mut fates[usize::try_from(ticket).unwrap()];
                    assert!(fate.is_none(), "settled twice");
                    *fate = Some(result.is_ok());
                }
            };
            // At random first, then in turn until all is done.
            let steps = steps.into_iter().map(|(step, pick)| (step, Some(pick)));
            let in_turn = (0..1000).map(|n: u16| (u8::try_from(n % 4).unwrap(), None));
            for (at, (step, pick)) in steps.chain(in_turn).enumerate() {
                let choose = |n: usize| pick.map_or(0, |pick| pick.index(n));
                match step {
                    0 if sent < routable.len() => {
                        let n = send(&mut window, &sent.to_string(), sent as u64);
                        on_wire.push_back((n, sent));
                        sent += 1;
                    }
                    1 => if let Some((n, index)) = on_wire.pop_front() {
                        if !routable[index] {
                            lapin.waiting.push_back(returned(&index.to_string()));
                        }
                        ready.push(n);
                    },
                    2 if !ready.is_empty() => {
                        let n = ready.remove(choose(ready.len()));
                        let confirm = Confirm { ack: true, returned: lapin.waiting.pop_front() };
                        lapin.completed.push((n, confirm));
                    }
                    3 => {
                        // Seen all at once, in any order.
                        let mut seen = std::mem::take(&mut lapin.completed);
                        if at % 2 == 0 { seen.reverse(); }
                        settle(window.confirmed(seen), &mut fates);
                    }
                    _ => {}
                }
            }
            settle(window.confirmed(std::mem::take(&mut lapin.completed)), &mut fates);
            let wanted: Vec<_> = routable.iter().map(|r| Some(*r)).collect();
            prop_assert_eq!(fates, wanted);
            prop_assert_eq!(window.len(), 0);
        }
    }
}
