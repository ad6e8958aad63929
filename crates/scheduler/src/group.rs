//! Which orders go together: those that wait for the same devices, in one network transaction.

use std::collections::{BTreeMap, BTreeSet};

use turnup_core::{
    failure::Failure,
    id::ServiceId,
    lease::Company,
    message::{Limits, MAX_BYTES},
    name::{DeviceName, RegionName},
    order::OrderKind,
};
use turnup_plan::Together;
use turnup_store::{DueOrder, Starting};

use crate::start::{Knowledge, Work, begin, past_is_unknown, policy_before_confirm};

/// Most time for a deployment of several orders, in milliseconds: less than a worker may take.
const LONGEST_MS: u64 = 24 * 60 * 1000;

/// Most devices of a deployment of several orders: each of them can hold all up.
const MAX_DEVICES: usize = 128;

/// How large a group may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    /// Orders; 1: nobody goes together.
    pub(crate) orders: usize,
    /// Bytes of the message to the worker.
    pub(crate) bytes: usize,
}

impl Most {
    /// As configured, within what a message holds.
    pub(crate) fn new(orders: u32, bytes: usize) -> Self {
        Self { orders: orders.clamp(1, 500) as usize, bytes: bytes.min(MAX_BYTES - MAX_BYTES / 8) }
    }

    /// How many who wait are looked at.
    pub(crate) fn followers(self) -> u32 {
        if self.orders > 1 { u32::try_from(self.orders).unwrap_or_default() } else { 0 }
    }
}

/// The limits of a deployment of so many orders: if one of them is refused, it takes several transactions
/// until that one is alone.
pub(crate) fn limits(limits: &Limits, orders: usize) -> Limits {
    if orders < 2 {
        return limits.clone();
    }
    let times = 2 + u64::from(orders.ilog2());
    let longest = LONGEST_MS.max(limits.total_timeout_ms);
    let total_timeout_ms = limits.total_timeout_ms.saturating_mul(times).min(longest);
    Limits { total_timeout_ms, ..limits.clone() }
}

/// Drafts orders as it is asked who goes with whom.
pub(crate) struct Companions<'a> {
    starting: &'a Starting,
    knowledge: &'a Knowledge<'a>,
    most: Most,
    works: Vec<Option<Result<Work, Vec<Failure>>>>,
    /// By the place of a group's first.
    groups: BTreeMap<usize, Group>,
}

/// What is known of a group.
#[derive(Debug, Default)]
struct Group {
    together: Together,
    services: BTreeSet<ServiceId>,
    bytes: usize,
    devices: BTreeSet<DeviceName>,
}

impl<'a> Companions<'a> {
    pub(crate) fn new(starting: &'a Starting, knowledge: &'a Knowledge<'a>, most: Most) -> Self {
        let works = starting.orders.iter().map(|_| None).collect();
        Self { starting, knowledge, most, works, groups: BTreeMap::new() }
    }

    fn work(&mut self, at: usize) -> Option<&Result<Work, Vec<Failure>>> {
        let due = self.starting.orders.get(at)?;
        let work = self.works.get_mut(at)?;
        Some(work.get_or_insert_with(|| begin(due, self.starting, self.knowledge)))
    }

    /// The draft of an order that starts.
    pub(crate) fn take(&mut self, at: usize) -> Option<Result<Work, Vec<Failure>>> {
        self.work(at)?;
        self.works.get_mut(at)?.take()
    }

    /// What the groups touch, by the places of their first.
    pub(crate) fn into_groups(self) -> BTreeMap<usize, Together> {
        self.groups.into_iter().map(|(first, group)| (first, group.together)).collect()
    }

    /// Whether they are of one kind, before anything is drafted.
    fn alike(&self, a: &DueOrder, b: &DueOrder) -> bool {
        let may = |due: &DueOrder| {
            due.order.kind != OrderKind::Validate
                && due.order.options.approved_plan.is_none()
                // Checks tell of one service, and take their time.
                && policy_before_confirm(due, self.starting, self.knowledge.catalogue).is_none()
                // What others have left is found out first.
                && !past_is_unknown(self.starting, due)
        };
        may(a) && may(b) && a.order.priority == b.order.priority && {
            let regions = self.regions(a);
            regions.len() == 1 && regions == self.regions(b)
        }
    }

    fn regions(&self, due: &DueOrder) -> BTreeSet<Option<&RegionName>> {
        due.devices.iter().map(|name| self.starting.devices.get(name).map(|device| &device.region)).collect()
    }

    /// Adds an order to a group if nothing is in its way. One that is Invalid comes along and ends there, but
    /// not with another of its service: each would tell of the service as if it were the only one.
    fn join(&mut self, first: usize, at: usize) -> bool {
        let most = self.most.bytes;
        let mut group = self.groups.remove(&first).unwrap_or_default();
        let devices = self.starting.orders.get(at).map(|due| due.devices.clone()).unwrap_or_default();
        let fits = devices.union(&group.devices).count() <= MAX_DEVICES;
        let service = self.starting.orders.get(at).map(|due| due.order.service_id);
        let is_another = service.is_some_and(|service| group.services.insert(service));
        let joins = match self.work(at) {
            _ if !is_another => false,
            None | Some(Ok(Work::Audit(_))) => false,
            Some(Err(_)) => true,
            Some(Ok(Work::Change(drafted))) => {
                let draft = drafted.draft();
                let bytes = group.bytes + draft.estimated_bytes();
                let joins = at == first || (fits && bytes <= most && group.together.may_join(draft));
                if joins {
                    group.together.add(draft);
                    group.bytes = bytes;
                    group.devices.extend(devices);
                }
                joins
            }
        };
        self.groups.insert(first, group);
        joins
    }
}

impl Company for Companions<'_> {
    fn takes(&mut self, group: &[usize], newcomer: usize) -> bool {
        let Some(first) = group.first().copied() else { return false };
        let orders = &self.starting.orders;
        let (Some(leader), Some(due)) = (orders.get(first), orders.get(newcomer)) else { return false };
        if group.len() >= self.most.orders || !self.alike(leader, due) {
            return false;
        }
        (self.groups.contains_key(&first) || self.join(first, first)) && self.join(first, newcomer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_more_time_but_not_more_than_a_worker() {
        let one = Limits::default();
        assert_eq!(limits(&one, 1), one);
        assert_eq!(limits(&one, 100).total_timeout_ms, LONGEST_MS);
        let short = Limits { total_timeout_ms: 60_000, ..one.clone() };
        assert_eq!(limits(&short, 100).total_timeout_ms, 480_000);
        let long = Limits { total_timeout_ms: 1_500_000, ..one };
        assert_eq!(limits(&long, 100).total_timeout_ms, 1_500_000);
    }

    #[test]
    fn a_group_fits_into_a_message() {
        assert!(Most::new(100, usize::MAX).bytes < MAX_BYTES);
        assert_eq!((Most::new(0, 1).orders, Most::new(1, 1).followers()), (1, 0));
    }
}
