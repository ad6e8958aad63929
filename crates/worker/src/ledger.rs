//! What is known of each order of a group, and what a part that was tried says of them: pure.

use std::collections::{BTreeMap, BTreeSet};

use turnup_core::{
    attempt,
    failure::{Failure, FailureClass},
    id::OrderId,
    message::{Deployment, DeviceEdit, DeviceReport, DeviceWork, InForce, OrderReport},
    name::DeviceName,
    settle,
    transaction::Answer,
    transcript::{DeviceTranscript, Recording},
};

use crate::{
    classify::{self, shorten},
    report::{Ending, Parts, undone},
    search::Tried,
};

/// Most failures told of one device.
const MAX_FAILURES: usize = 10;
/// Most steps told of one device; the last ones say what happened.
const MAX_STEPS: usize = 100;
/// After so many orders in succession that a device refused alone, without a word on their content, it isn't
/// asked again.
const MAX_STRIKES: u32 = 2;
/// After so many parts in succession, and one for each time that a group can be halved, to which a device gave
/// no answer it isn't asked again. That is enough to find the one order that it can't bear.
const MAX_SILENCES: u32 = 2;

/// How it ended for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fate {
    /// None: deployed.
    pub(crate) failures: Vec<Failure>,
    pub(crate) in_force: BTreeMap<DeviceName, InForce>,
}

/// What a transaction has left at a device, by its place in the deployment.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) place: usize,
    pub(crate) in_force: InForce,
    pub(crate) failures: Vec<Failure>,
}

/// The orders of a deployment, by their place in it.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    deployment: &'a Deployment,
    /// The places of each order's devices.
    places: Vec<Vec<usize>>,
    fates: Vec<Option<Fate>>,
    /// Devices that aren't asked again, and why.
    shut: BTreeMap<usize, Vec<Failure>>,
    strikes: BTreeMap<usize, u32>,
    silences: BTreeMap<usize, u32>,
    sights: Vec<Parts>,
    /// What was said to each, and how much of that was left out before.
    transcripts: BTreeMap<usize, (Recording, u32)>,
}

/// Whether it may be the content of one order that the device has answered like this, or has not answered; or that
/// there was no time for so much. Else it is the device's own trouble, and others would fare no better.
fn may_be_content(failure: &Failure) -> bool {
    failure.class == FailureClass::Invalid
        || failure.phase == attempt::DEADLINE
        || classify::is_about_an_edit(&failure.phase)
}

/// Whether the device says that it is the content, or where in it.
fn blames_content(failure: &Failure) -> bool {
    failure.class == FailureClass::Invalid || failure.path.is_some()
}

/// What went wrong with a part, as it is told to one of its orders: if there are others, nobody knows yet whose
/// content it was that a device refused.
fn blameless(mut failures: Vec<Failure>, part: &[usize]) -> Vec<Failure> {
    for failure in
        failures.iter_mut().filter(|failure| part.len() > 1 && failure.class == FailureClass::Invalid)
    {
        failure.class = FailureClass::Undone;
        failure.message =
            shorten(&format!("refused with others of the same deployment: {}", failure.message));
    }
    failures
}

/// Whether the device gave no answer to an edit or a commit.
fn is_silence(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Unreachable | FailureClass::InDoubt)
        && classify::is_about_an_edit(&failure.phase)
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(deployment: &'a Deployment) -> Self {
        let has = |work: &DeviceWork, order| work.edits.iter().any(|edit| edit.order == order);
        let places = deployment.orders.iter().map(|order| {
            let devices = deployment.devices.iter().enumerate();
            devices.filter(|(_, work)| has(work, *order)).map(|(place, _)| place).collect()
        });
        Self {
            deployment,
            places: places.collect(),
            fates: vec![None; deployment.orders.len()],
            shut: BTreeMap::new(),
            strikes: BTreeMap::new(),
            silences: BTreeMap::new(),
            sights: deployment.devices.iter().map(|_| Parts::default()).collect(),
            transcripts: BTreeMap::new(),
        }
    }

    /// The orders for which it is not over.
    pub(crate) fn left(&self) -> Vec<usize> {
        (0..self.fates.len()).filter(|order| self.fates[*order].is_none()).collect()
    }

    /// The devices of these orders, with their edits and no others'. What they hold jointly with an order that
    /// is in force, as far as is known, is not theirs to remove.
    pub(crate) fn part(&self, orders: &[usize]) -> Vec<(usize, DeviceWork)> {
        let ids: BTreeSet<_> = orders.iter().filter_map(|order| self.deployment.orders.get(*order)).collect();
        let devices = self.deployment.devices.iter().enumerate();
        let cut = devices.map(|(place, work)| {
            let held = self.held_by_others(place, &ids);
            let edits = work.edits.iter().filter(|edit| ids.contains(&edit.order)).map(|edit| {
                let mut edit = edit.clone();
                edit.joint.retain(|joint| !held.contains(joint.node.as_str()));
                edit
            });
            let edits = edits.collect();
            let DeviceWork { device, address, port, platform, host_key, profile, credential, .. } = work;
            let (pending_tokens, epoch) = (work.pending_tokens.clone(), work.epoch);
            let work = DeviceWork {
                device: device.clone(),
                address: address.clone(),
                port: *port,
                platform: platform.clone(),
                host_key: host_key.clone(),
                profile: profile.clone(),
                credential: credential.clone(),
                pending_tokens,
                epoch,
                edits,
                before_confirm: work.before_confirm.clone(),
                inside: work.inside.clone(),
                audit: None,
            };
            (place, work)
        });
        cut.filter(|(_, work)| !work.edits.is_empty()).collect()
    }

    /// The joint nodes that orders hold at a device, or may, which are not of these.
    fn held_by_others(&self, place: usize, ids: &BTreeSet<&OrderId>) -> BTreeSet<&str> {
        let Some(work) = self.deployment.devices.get(place) else { return BTreeSet::new() };
        let others = work.edits.iter().filter(|edit| !edit.joint.is_empty() && !ids.contains(&edit.order));
        let holds = |edit: &&DeviceEdit| {
            let order = self.deployment.orders.iter().position(|order| *order == edit.order);
            let fate = order.and_then(|order| self.fates.get(order)?.as_ref());
            let in_force = fate.map(|fate| fate.in_force.get(&work.device).copied());
            !matches!(in_force, None | Some(Some(InForce::Old)))
        };
        others.filter(holds).flat_map(|edit| &edit.joint).map(|joint| joint.node.as_str()).collect()
    }

    /// Adds what was told of a device.
    pub(crate) fn saw(&mut self, place: usize, told: Parts) {
        let Some(sight) = self.sights.get_mut(place) else { return };
        sight.notes.extend(told.notes);
        sight.notes.truncate(MAX_FAILURES);
        sight.guarantee = told.guarantee.or(sight.guarantee);
        sight.tokens_cancelled |= told.tokens_cancelled;
        sight.audits.extend(told.audits);
        for remark in told.remarks {
            if sight.remarks.len() < MAX_FAILURES && !sight.remarks.contains(&remark) {
                sight.remarks.push(remark);
            }
        }
        sight.steps.extend(told.steps);
        let excess = sight.steps.len().saturating_sub(MAX_STEPS);
        sight.steps.drain(..excess);
    }

    /// Adds what was said to a device.
    pub(crate) fn heard(&mut self, place: usize, said: DeviceTranscript) {
        let devices = self.deployment.devices.len();
        let (recording, left_out) =
            self.transcripts.entry(place).or_insert_with(|| (Recording::of_one_of(devices), 0));
        said.exchanges.into_iter().for_each(|exchange| recording.add(exchange));
        *left_out = left_out.saturating_add(said.left_out);
    }

    /// All that was said.
    pub(crate) fn take_transcripts(&mut self) -> Vec<DeviceTranscript> {
        let all = std::mem::take(&mut self.transcripts).into_iter();
        let all = all.filter_map(|(place, (recording, before))| {
            let mut said = recording.end(self.deployment.devices.get(place)?.device.clone());
            said.left_out = said.left_out.saturating_add(before);
            Some(said)
        });
        all.collect()
    }

    /// It is over for this order: `in_force` tells for the places of its devices.
    pub(crate) fn end(&mut self, order: usize, failures: Vec<Failure>, in_force: impl Fn(usize) -> InForce) {
        let (Some(fate), Some(places)) = (self.fates.get_mut(order), self.places.get(order)) else { return };
        let name = |place: &usize| Some(self.deployment.devices.get(*place)?.device.clone());
        let in_force = places.iter().filter_map(|place| Some((name(place)?, in_force(*place)))).collect();
        *fate = Some(Fate { failures, in_force });
    }

    /// Ends the orders that need this device, which must not be contacted at all.
    pub(crate) fn bar(&mut self, place: usize, failure: &Failure) {
        for order in self.left() {
            if self.places[order].contains(&place) {
                self.end(order, vec![self.at(place, failure.clone())], |_| InForce::Old);
            }
        }
    }

    /// The device at this place isn't asked again.
    pub(crate) fn shut(&mut self, place: usize, failures: Vec<Failure>) {
        self.shut.entry(place).or_insert(failures);
    }

    /// Ends the orders that need a device which isn't asked again, and tells which.
    pub(crate) fn shut_out(&mut self) -> Vec<usize> {
        let mut out = Vec::new();
        for order in self.left() {
            let shut = self.places[order].iter().filter_map(|place| Some((*place, self.shut.get(place)?)));
            let failures: Vec<Failure> = shut
                .filter_map(|(place, failures)| {
                    Some((place, failures.iter().min_by_key(|f| blames_content(f))?))
                })
                .map(|(place, failure)| {
                    let text = format!(
                        "not tried, because of what came of other orders of the same deployment: {}",
                        failure.message
                    );
                    let class = match failure.class {
                        FailureClass::InDoubt => FailureClass::Unreachable,
                        // That of another order.
                        FailureClass::Invalid => FailureClass::Undone,
                        class => class,
                    };
                    self.at(place, Failure { class, message: shorten(&text), ..failure.clone() })
                })
                .collect();
            if !failures.is_empty() {
                self.end(order, failures, |_| InForce::Old);
                out.push(order);
            }
        }
        out
    }

    fn at(&self, place: usize, failure: Failure) -> Failure {
        match self.deployment.devices.get(place) {
            Some(work) => failure.at(work.device.clone()),
            None => failure,
        }
    }

    /// What a transaction of these orders says of them.
    pub(crate) fn judge(&mut self, part: &[usize], found: &[Found], phase: &str) -> Tried {
        let at: BTreeMap<usize, &Found> = found.iter().map(|found| (found.place, found)).collect();
        let in_force = |place: usize| at.get(&place).map_or(InForce::Unknown, |found| found.in_force);
        let all = |wanted| found.iter().all(|found| found.in_force == wanted);
        if all(InForce::New) {
            for order in part {
                self.end(*order, Vec::new(), |_| InForce::New);
            }
            for found in found {
                self.strikes.remove(&found.place);
                self.silences.remove(&found.place);
            }
            return Tried::Over;
        }
        if !all(InForce::Old) {
            return self.judge_mixed(part, found, phase);
        }
        let most = MAX_SILENCES + self.deployment.orders.len().max(1).ilog2();
        for found in found.iter().filter(|found| found.failures.iter().any(is_silence)) {
            *self.silences.entry(found.place).or_default() += 1;
        }
        let own_trouble = |found: &&Found| {
            found.failures.iter().any(|failure| !may_be_content(failure))
                || self.silences.get(&found.place).is_some_and(|silences| *silences > most)
        };
        let trouble: Vec<usize> = found.iter().filter(own_trouble).map(|found| found.place).collect();
        if !trouble.is_empty() {
            let touches = |order: &&usize| self.places[**order].iter().any(|place| trouble.contains(place));
            let gone: Vec<usize> = part.iter().filter(touches).copied().collect();
            for order in &gone {
                let failures = self.failures_of(*order, &at, |place| trouble.contains(&place));
                let failures = blameless(failures, part);
                self.end(*order, failures, in_force);
            }
            for found in found.iter().filter(|found| trouble.contains(&found.place)) {
                self.shut(found.place, found.failures.clone());
            }
            return if gone.len() == part.len() { Tried::Over } else { Tried::Without(gone) };
        }
        if found.iter().all(|found| found.failures.is_empty()) {
            let failure = undone(phase, &[]);
            for order in part {
                self.end(*order, vec![failure.clone()], in_force);
            }
            return Tried::Over;
        }
        if let [order] = part {
            let failures = self.failures_of(*order, &at, |_| true);
            self.end(*order, failures, in_force);
            for found in found {
                if found.failures.iter().any(|failure| !blames_content(failure)) {
                    let strikes = self.strikes.entry(found.place).or_default();
                    *strikes += 1;
                    if *strikes >= MAX_STRIKES {
                        self.shut(found.place, found.failures.clone());
                    }
                }
            }
            return Tried::Refused(None);
        }
        Tried::Refused(self.suspect(part, found))
    }

    /// It went wrong after the decision: each order by what is in force at its own devices. Nobody goes on
    /// at a device of which something isn't known.
    fn judge_mixed(&mut self, part: &[usize], found: &[Found], phase: &str) -> Tried {
        let at: BTreeMap<usize, &Found> = found.iter().map(|found| (found.place, found)).collect();
        let in_force = |place: usize| at.get(&place).map_or(InForce::Unknown, |found| found.in_force);
        let unwell = found.iter().filter(|found| !found.failures.is_empty());
        let culprits: Vec<DeviceName> = unwell
            .filter_map(|found| Some(self.deployment.devices.get(found.place)?.device.clone()))
            .collect();
        // Of those nothing is left, and no trouble is known that they would meet again.
        let is_well = |place: &usize| {
            in_force(*place) == InForce::Old
                && at.get(place).is_none_or(|found| found.failures.iter().all(may_be_content))
        };
        let mut over = Vec::new();
        for order in part {
            let own = || self.places[*order].iter();
            if part.len() > 1 && own().all(is_well) {
                continue;
            }
            let mut failures = blameless(self.failures_of(*order, &at, |_| true), part);
            if own().all(|place| in_force(*place) == InForce::New) {
                failures.clear();
            } else if failures.is_empty() {
                failures.push(undone(phase, &culprits));
            }
            self.end(*order, failures, in_force);
            over.push(*order);
        }
        for found in found {
            let has_trouble = found.failures.iter().any(|failure| !may_be_content(failure));
            if found.in_force == InForce::Unknown || has_trouble {
                let unknown =
                    || Failure::new(FailureClass::InDoubt, phase, "it is not known what is in force");
                let told = Some(found.failures.clone()).filter(|failures| !failures.is_empty());
                self.shut(found.place, told.unwrap_or_else(|| vec![unknown()]));
            }
        }
        if over.len() == part.len() { Tried::Over } else { Tried::Without(over) }
    }

    /// What a survey of these orders at these devices says of them: those in force everywhere are done, and
    /// those with a device that doesn't tell are over. Gives those that are in force at some devices
    /// only, or in part: together those that are alike wherever they meet, as those of one transaction are.
    pub(crate) fn surveyed(
        &mut self,
        orders: &[usize],
        asked: &[(usize, DeviceWork)],
        answers: Vec<Result<Vec<InForce>, Answer>>,
    ) -> Vec<Vec<usize>> {
        let mut known = BTreeMap::new();
        let mut silent = BTreeMap::new();
        for ((place, work), answer) in asked.iter().zip(answers) {
            match answer {
                Ok(states) => {
                    for (edit, state) in work.edits.iter().zip(states) {
                        known.insert((*place, edit.order), state);
                    }
                }
                Err(answer) => {
                    let failures = match answer {
                        Answer::Failed { failures, .. } => failures,
                        _ => Vec::new(),
                    };
                    silent.insert(*place, Found { place: *place, in_force: InForce::Unknown, failures });
                }
            }
        }
        let at: BTreeMap<usize, &Found> = silent.iter().map(|(place, found)| (*place, found)).collect();
        let mut halfway: Vec<(Vec<usize>, BTreeMap<usize, InForce>)> = Vec::new();
        for order in orders {
            let Some(id) = self.deployment.orders.get(*order).copied() else { continue };
            let in_force = |place: usize| known.get(&(place, id)).copied().unwrap_or(InForce::Unknown);
            // Where it changes nothing, nothing tells whether it is in force.
            let only_reads = |place: &usize| {
                let mut edits = self.deployment.devices.get(*place).into_iter().flat_map(|work| &work.edits);
                edits.any(|edit| edit.order == id && edit.only_reads())
            };
            let changing = self.places[*order].iter().filter(|place| !only_reads(place));
            let own: BTreeSet<InForce> = changing.map(|place| in_force(*place)).collect();
            if own.is_empty() {
                continue;
            }
            if own.contains(&InForce::Unknown) {
                let mut failures = self.failures_of(*order, &at, |_| true);
                if failures.is_empty() {
                    let text = "it could not be found out what is in force";
                    failures.push(Failure::new(FailureClass::InDoubt, "recover", text));
                }
                self.end(*order, failures, in_force);
            } else if own.iter().all(|found| *found == InForce::New) {
                self.end(*order, Vec::new(), |_| InForce::New);
            } else if own.iter().any(|found| *found != InForce::Old) {
                let own: BTreeMap<usize, InForce> =
                    self.places[*order].iter().map(|place| (*place, in_force(*place))).collect();
                let alike = |seen: &BTreeMap<usize, InForce>| {
                    own.iter().all(|(place, found)| seen.get(place).is_none_or(|other| other == found))
                };
                match halfway.iter_mut().find(|(_, seen)| alike(seen)) {
                    Some((group, seen)) => {
                        group.push(*order);
                        seen.extend(own);
                    }
                    None => halfway.push((vec![*order], own)),
                }
            }
        }
        for (place, found) in silent {
            self.shut(place, found.failures);
        }
        halfway.into_iter().map(|(group, _)| group).collect()
    }

    fn failures_of(
        &self,
        order: usize,
        at: &BTreeMap<usize, &Found>,
        counts: impl Fn(usize) -> bool,
    ) -> Vec<Failure> {
        let places = self.places[order].iter().filter(|place| counts(**place));
        let found = places.filter_map(|place| at.get(place));
        found
            .flat_map(|found| found.failures.iter().map(|failure| self.at(found.place, failure.clone())))
            .collect()
    }

    /// The one order of the part whose edit has everything that an error names. Only a hint.
    fn suspect(&self, part: &[usize], found: &[Found]) -> Option<usize> {
        let named = found.iter().find_map(|found| {
            let path = found.failures.iter().find_map(|failure| failure.path.as_deref())?;
            Some((found.place, path))
        });
        let (place, path) = named?;
        let needles = needles(path);
        let work = self.deployment.devices.get(place).filter(|_| !needles.is_empty())?;
        let mut fitting = part.iter().filter(|order| {
            let id = self.deployment.orders.get(**order);
            let mut own = work.edits.iter().filter(|edit| Some(&edit.order) == id);
            own.any(|edit| {
                let whole = edit.whole.as_ref().map(|whole| &whole.before);
                let mut texts = std::iter::once(&edit.edit).chain(whole);
                texts.any(|text| needles.iter().all(|needle| text.contains(needle)))
            })
        });
        let first = fitting.next().copied();
        first.filter(|_| fitting.next().is_none())
    }

    /// How it ended for the deployment.
    pub(crate) fn ending(self, phase: &'static str) -> Ending {
        let Self { deployment, places, fates, sights, .. } = self;
        let mut known: Vec<BTreeSet<InForce>> = vec![BTreeSet::new(); sights.len()];
        let mut told: Vec<Vec<Failure>> = vec![Vec::new(); sights.len()];
        let mut sights = sights;
        let mut orders = Vec::with_capacity(fates.len());
        for ((order, fate), places) in deployment.orders.iter().zip(fates).zip(places) {
            let Fate { failures, in_force } = fate
                .unwrap_or_else(|| Fate { failures: vec![undone(phase, &[])], in_force: BTreeMap::new() });
            let mut audits = BTreeMap::new();
            for place in places {
                let Some(device) = deployment.devices.get(place).map(|work| &work.device) else { continue };
                let audit = sights.get_mut(place).and_then(|sight| sight.audits.remove(order));
                audits.extend(audit.filter(|_| failures.is_empty()).map(|audit| (device.clone(), audit)));
                known[place].insert(in_force.get(device).copied().unwrap_or(InForce::Unknown));
                let own = failures.iter().filter(|failure| failure.device.as_ref() == Some(device));
                for failure in own {
                    if told[place].len() < MAX_FAILURES && !told[place].contains(failure) {
                        told[place].push(failure.clone());
                    }
                }
            }
            orders.push(OrderReport { order: *order, failures, in_force, audits });
        }
        let devices = deployment.devices.iter().zip(sights).zip(known.into_iter().zip(told));
        let devices: Vec<DeviceReport> = devices
            .map(|((work, sight), (known, mut failures))| {
                failures.extend(sight.notes.into_iter().map(|note| note.at(work.device.clone())));
                DeviceReport {
                    device: work.device.clone(),
                    in_force: together(&known),
                    steps: sight.steps,
                    failures,
                    audit: None,
                    guarantee: sight.guarantee,
                    tokens_cancelled: sight.tokens_cancelled,
                    remarks: sight.remarks,
                }
            })
            .collect();
        Ending { event: settle::outcome(&devices, &orders), phase, devices, orders, confirm_by: None }
    }
}

/// What is in force at a device, from what is in force of each order.
fn together(known: &BTreeSet<InForce>) -> InForce {
    let mut all = known.iter();
    match (all.next(), all.next()) {
        (Some(one), None) => *one,
        (None, _) => InForce::Old,
        _ if known.contains(&InForce::Unknown) => InForce::Unknown,
        _ => InForce::Partly,
    }
}

/// The keys in an error-path as they stand in an edit: `…/unit[x:id='7']/…` → `id>7<`.
fn needles(path: &str) -> Vec<String> {
    let predicates = path.split('[').skip(1);
    predicates
        .filter_map(|predicate| {
            let (name, rest) = predicate.split_once('=')?;
            let name = name.rsplit(':').next()?.trim();
            let rest = rest.trim_start();
            let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
            let value = rest.get(1..)?.split(quote).next()?;
            Some(format!("{name}>{value}<"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
