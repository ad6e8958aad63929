//! Looks at all states that can be come to, breadth first.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use turnup_core::message::InForce;

use super::{Limits, State};

/// The same for a state and the one in which the regions have changed places.
fn key(state: &State) -> u64 {
    let mut halves = [half(state, 0), half(state, 1)];
    halves.sort_unstable();
    hash_of((halves, state.ended))
}

/// All that there is in one region. Of each kind it is in the order of the attempts.
fn half(state: &State, part: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (state.devices[part], state.parts[part]).hash(&mut hasher);
    for message in state.messages.iter().filter(|message| message.part == part) {
        (message.stage, message.attempt, message.delivered).hash(&mut hasher);
    }
    for worker in state.workers.iter().filter(|worker| worker.part == part) {
        (worker.stage, worker.attempt, worker.old).hash(&mut hasher);
        (&worker.transaction, &worker.next).hash(&mut hasher);
    }
    for report in state.reports.iter().filter(|report| report.part == part) {
        (report.attempt, report.event, report.in_force).hash(&mut hasher);
    }
    hasher.finish()
}

fn hash_of(whole: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    whole.hash(&mut hasher);
    hasher.finish()
}

/// What was seen.
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) fault: Option<String>,
    /// States from which the order can't end any more.
    pub(super) dead_ends: usize,
    pub(super) doubts: usize,
}

pub(super) fn explore(limits: Limits) -> Explored {
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut before: Vec<Vec<u32>> = Vec::new();
    let mut open: VecDeque<(u32, State)> = VecDeque::new();
    let mut ended: Vec<u32> = Vec::new();
    let mut doubts = 0;
    let first = State::new();
    seen.insert(key(&first), 0);
    before.push(Vec::new());
    open.push_back((0, first));
    while let Some((from, state)) = open.pop_front() {
        if let Some(fault) = state.fault() {
            let fault = Some(format!("{fault}\n{}", way(from, &before, &seen, limits)));
            return Explored { states: seen.len(), fault, dead_ends: 0, doubts };
        }
        // Where a message has come as often as is tried, it would come once more.
        let used_up = (0..2).any(|at| state.is_open(at) && state.parts[at].repeats >= limits.repeats);
        if state.ended.is_some() || used_up {
            ended.push(from);
        }
        if state.ended.is_some() {
            doubts += usize::from(state.parts.iter().any(|part| part.in_force == InForce::Unknown));
        }
        for next in state.successors(limits) {
            let number = u32::try_from(seen.len()).unwrap();
            let to = *seen.entry(key(&next)).or_insert(number);
            if to == number {
                before.push(Vec::new());
                open.push_back((to, next));
            }
            before[usize::try_from(to).unwrap()].push(from);
        }
    }
    // Backwards from the ends: what is not reached can't come to one.
    let mut can_end = vec![false; before.len()];
    let mut open = ended;
    while let Some(state) = open.pop() {
        let state = usize::try_from(state).unwrap();
        if !std::mem::replace(&mut can_end[state], true) {
            open.extend(&before[state]);
        }
    }
    let dead_ends = can_end.iter().filter(|can| !**can).count();
    Explored { states: before.len(), fault: None, dead_ends, doubts }
}

/// How a state was come to, step by step: each by what it changes.
fn way(to: u32, before: &[Vec<u32>], seen: &HashMap<u64, u32>, limits: Limits) -> String {
    let mut numbers = vec![to];
    while let Some(first) = numbers.last().and_then(|last| before[usize::try_from(*last).unwrap()].first()) {
        numbers.push(*first);
    }
    let mut state = State::new();
    let mut text = String::new();
    for number in numbers.into_iter().rev().skip(1) {
        let next = state.successors(limits).into_iter().find(|next| seen.get(&key(next)) == Some(&number));
        state = next.unwrap();
        let devices = state.devices.map(|d| match (d.kept, d.pending, d.late) {
            (true, ..) => "new",
            (_, true, false) => "provisional",
            (_, true, true) => "provisional, late",
            _ => "old",
        });
        let parts = state.parts.map(|part| format!("{} {} {}", part.stage, part.attempt, part.state));
        let workers: Vec<String> =
            state.workers.iter().map(|w| format!("{}.{} {:?}", w.part, w.attempt, w.next)).collect();
        text += &format!("{devices:?} {parts:?} {workers:?} {:?}\n", state.reports);
    }
    text
}
