//! The network transaction as a pure state machine: in force on all devices, or on none.
//!
//! [`Transaction`] says what to do next; whoever drives it does that at all the devices named, at once,
//! waits for every answer (the barrier between two phases), and tells. No IO, no clock, no messages in
//! here, so every combination of answers can be tried.
//!
//! What an answer means is a promise of who gives it:
//! - [`Answer::Done`]: the command had the effect that it names.
//! - [`Answer::Ready`]: prepared, and this is how the device will be changed.
//! - [`Answer::Found`]: this configuration is in force, for good: no commit of ours is pending.
//! - [`Answer::Failed`] with `touched: false`: the command had no effect at all.
//! - [`Answer::Failed`] with `touched: true`: it may have had its effect, or a part that goes back by itself.
//! - [`Answer::Superseded`]: another worker has taken the deployment over, so nothing more was done.
//!
//! Not every device can commit so that it goes back by itself. First all those commit that can. Then the
//! others commit for good, one after the other, so that when one refuses as few as possible have to be taken
//! back by the inverse edit; those first whose refusal is likeliest. Only when all of them are in are the
//! provisional commits confirmed. Until then every refusal ends in the old configuration everywhere.
//!
//! A transaction over several regions has a part in each, and each part runs in stages that
//! [`crate::across`] decides upon: see [`Transaction::part`].

use crate::{
    failure::{Failure, FailureClass},
    message::{Guarantee, InForce, Stage},
};

/// A phase; between two of them all devices are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Find out what an earlier worker left.
    Recover,
    /// Lock, and put the edit into the candidate.
    Prepare,
    /// Commit, going back by itself; read back. Only where that can be.
    Commit,
    /// Commit for good; read back, if need be on a new session. One device at a time.
    CommitForGood,
    /// Functional checks while the change is in force and can still be undone.
    Verify,
    /// Let go of the locks; what was committed provisionally waits for the decision.
    Hold,
    /// The decision to go through with it, carried out.
    Confirm,
    /// The decision to give up, carried out.
    Undo,
    /// After a confirm without answer: confirm again if pending, read back.
    Settle,
    /// Others have confirmed: put the edit in force where it is not.
    Push,
    /// It can't be in force everywhere: the inverse edit where it is.
    Revert,
    /// Let go of everything that is ours and only ours.
    Release,
}

/// The word of [`Phase::Verify`].
pub const FUNCTIONAL_CHECK: &str = "functional-check";

impl Phase {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Prepare => "prepare",
            Self::Commit => "commit",
            Self::CommitForGood => "commit-for-good",
            Self::Verify => FUNCTIONAL_CHECK,
            Self::Hold => "hold",
            Self::Confirm => "confirm",
            Self::Undo => "undo",
            Self::Settle => "settle",
            Self::Push => "push-forward",
            Self::Revert => "revert",
            Self::Release => "release",
        }
    }
}

/// What a device made of a phase's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As told.
    Done,
    /// Prepared, to be changed like this.
    Ready(Guarantee),
    /// What is in force.
    Found(InForce),
    /// Not done.
    Failed {
        /// Why.
        failures: Vec<Failure>,
        /// Whether it may have had an effect.
        touched: bool,
    },
    /// Another worker has it.
    Superseded,
}

/// Whether the next phase may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one value at a time, never stored in numbers")]
pub enum Gate {
    /// It may.
    Open,
    /// Another worker has taken over: it owns whatever is pending under our persist id.
    Superseded,
    /// The broker has given the deployment to someone else, or nobody can tell whether it is still ours.
    Cut,
    /// There is no time left to go on.
    Late(Failure),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Next {
    /// This phase at these devices; then [`Transaction::answered`].
    Run(Phase, Vec<usize>),
    /// May this phase begin? Then [`Transaction::gated`].
    Ask(Phase),
    /// It is over.
    End(End),
}

/// How it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// What is known of the devices is the result, to be reported.
    Known,
    /// Provisionally in force on all devices, which go back by themselves unless it is confirmed.
    Prepared,
    /// Another worker has it: nothing to report.
    Superseded,
    /// To be given back to the broker without a report.
    HandedBack,
}

/// What is known of one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Which configuration is in force for good, as far as known.
    pub in_force: InForce,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// The new configuration was in force when this worker began.
    had_new: bool,
    /// Locks and candidate are ours.
    prepared: bool,
    /// A commit was sent that may be pending.
    committed: bool,
    /// It was committed for good, or may have been.
    for_good: bool,
    /// How it is changed; known when it is prepared.
    guarantee: Guarantee,
}

impl Seat {
    fn is_provisional(&self) -> bool {
        self.guarantee.goes_back_by_itself()
    }
}

/// What may have been done at the devices before this attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// Anything of this very deployment, by an earlier attempt.
    pub begun: bool,
    /// Anything that an earlier deployment wanted of the same services, and of which it ended without knowing.
    pub unknown: bool,
}

/// The state machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transaction {
    seats: Vec<Seat>,
    end: End,
    stage: Stage,
    past: Past,
    /// Devices whose functional checks have to pass before anything is confirmed.
    checked: Vec<usize>,
    /// They have passed.
    is_verified: bool,
}

impl Transaction {
    /// All of a transaction at so many devices.
    #[must_use]
    pub fn new(devices: usize, past: Past) -> (Self, Next) {
        Self::part(Stage::Whole, devices, past)
    }

    /// One stage of a transaction at so many devices:
    /// - [`Stage::Whole`]: all of it.
    /// - [`Stage::Prepare`]: up to the provisional commit, which stays pending ([`End::Prepared`]).
    /// - [`Stage::Confirm`]: what was prepared is confirmed; put in force again where a timer was faster.
    ///   Where that is refused, it is taken back on all these devices.
    /// - [`Stage::Undo`]: what is pending is cancelled; the inverse edit where it is in force for good.
    ///
    /// The last two may be repeated as they are, so they need no recovery.
    ///
    /// Where something may have been done before, it begins with finding that out. What an earlier attempt may have
    /// done is not known until all devices have told. What an earlier deployment has left is *as before* for this
    /// one, unless all devices have told: then it counts as the new configuration, so that if this one fails, all
    /// devices go back to what was before both. A part that can't find it out does not know, as the others may have
    /// found it, and go back.
    #[must_use]
    pub fn part(stage: Stage, devices: usize, past: Past) -> (Self, Next) {
        let decided = matches!(stage, Stage::Confirm | Stage::Undo);
        // The other parts may take back what they find, so what isn't found out here is not as before.
        let is_shared = stage == Stage::Prepare && past.unknown;
        let seat = Seat {
            in_force: if past.begun || decided || is_shared { InForce::Unknown } else { InForce::Old },
            failures: Vec::new(),
            had_new: false,
            prepared: false,
            committed: decided,
            for_good: false,
            guarantee: Guarantee::ConfirmedCommit11,
        };
        let transaction = Self {
            seats: vec![seat; devices],
            end: End::Known,
            stage,
            past,
            checked: Vec::new(),
            is_verified: false,
        };
        let first = match stage {
            Stage::Confirm => Phase::Confirm,
            Stage::Undo => Phase::Recover,
            Stage::Whole | Stage::Prepare if past != Past::default() => Phase::Recover,
            Stage::Whole | Stage::Prepare => Phase::Prepare,
        };
        let next =
            if devices == 0 { Next::End(End::Known) } else { Next::Run(first, (0..devices).collect()) };
        (transaction, next)
    }

    /// The same, with functional checks at these devices before anything is confirmed.
    #[must_use]
    pub fn checking(mut self, devices: Vec<usize>) -> Self {
        self.checked = devices;
        self
    }

    /// What is known of the devices.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Whether a commit was sent to this device that may be pending.
    pub fn committed(&self, device: usize) -> bool {
        self.seats.get(device).is_some_and(|seat| seat.committed)
    }

    /// Whether the new configuration was in force at this device when this worker began.
    pub fn had_new(&self, device: usize) -> bool {
        self.seats.get(device).is_some_and(|seat| seat.had_new)
    }

    /// Whether another worker owns what is pending.
    pub fn is_superseded(&self) -> bool {
        self.end == End::Superseded
    }

    /// All devices have answered.
    pub fn answered(&mut self, phase: Phase, answers: Vec<(usize, Answer)>) -> Next {
        let superseded = answers.iter().any(|(_, answer)| *answer == Answer::Superseded);
        let (mut all_done, mut any_failed) = (true, false);
        for (device, answer) in answers {
            any_failed |= matches!(answer, Answer::Failed { .. });
            all_done &= matches!(answer, Answer::Done | Answer::Ready(_));
            if let Some(seat) = self.seats.get_mut(device) {
                seat.learn(phase, answer);
            }
        }
        if superseded && phase != Phase::Release {
            return self.release(End::Superseded);
        }
        match phase {
            Phase::Recover if self.stage == Stage::Undo => self.revert(),
            // What an earlier deployment has left is not all that is wanted.
            Phase::Recover if self.stage == Stage::Whole && self.all(InForce::New) && !self.past.unknown => {
                // An earlier worker may have died before the checks.
                if self.has_to_verify() { self.verify() } else { Next::End(End::Known) }
            }
            Phase::Recover if any_failed && (self.past.begun || self.stage == Stage::Prepare) => {
                // What is left of another deployment's is not what this one wants.
                let is_left = |seat: &&mut Seat| self.past.unknown && seat.in_force == InForce::New;
                for seat in self.seats.iter_mut().filter(is_left) {
                    seat.in_force = InForce::Unknown;
                    let text = "it has something that an earlier deployment or this one has left there";
                    seat.failures.push(Failure::new(FailureClass::InDoubt, phase.name(), text));
                }
                Next::End(End::Known)
            }
            Phase::Recover if any_failed => {
                // Nothing was done, so all is as before this deployment.
                self.seats.iter_mut().for_each(|seat| seat.in_force = InForce::Old);
                Next::End(End::Known)
            }
            Phase::Recover => Next::Ask(Phase::Prepare),
            Phase::Prepare if all_done && !self.may_wait() => self.undo(),
            Phase::Prepare if all_done && self.seats.iter().any(Seat::is_provisional) => {
                Next::Ask(Phase::Commit)
            }
            Phase::Prepare | Phase::Commit | Phase::CommitForGood if all_done => self.go_on(),
            Phase::Prepare | Phase::Commit | Phase::CommitForGood => self.undo(),
            Phase::Verify if !all_done => self.undo(),
            Phase::Verify => {
                self.is_verified = true;
                if self.all(InForce::New) && !self.seats.iter().any(|seat| seat.prepared) {
                    // Found in force by a recovery: there is nothing to confirm.
                    return Next::End(End::Known);
                }
                self.go_on()
            }
            Phase::Hold => Next::End(End::Prepared),
            Phase::Confirm if all_done => Next::End(End::Known),
            Phase::Confirm => self.run(Phase::Settle, |seat| seat.in_force == InForce::Unknown),
            // Forward where it is not, because it is in force elsewhere, or may be.
            Phase::Settle if self.any(InForce::New) || self.stage == Stage::Confirm => {
                self.run(Phase::Push, |seat| seat.in_force == InForce::Old)
            }
            Phase::Settle => Next::End(End::Known),
            Phase::Push if self.any(InForce::Old) => self.revert(),
            Phase::Push => Next::End(End::Known),
            Phase::Undo => self.revert(),
            Phase::Revert | Phase::Release => Next::End(self.end),
        }
    }

    /// Whether the phase that was asked for may begin.
    pub fn gated(&mut self, phase: Phase, gate: Gate) -> Next {
        match gate {
            Gate::Open if phase == Phase::Commit => self.run(phase, Seat::is_provisional),
            Gate::Open if phase == Phase::CommitForGood => match self.next_for_good() {
                Some(device) => Next::Run(phase, vec![device]),
                None => self.go_on(),
            },
            Gate::Open => self.run(phase, |_| true),
            Gate::Superseded => self.release(End::Superseded),
            // Whoever gets it next finds out what was done; what is in our hands is taken back now.
            Gate::Cut => self.release(End::HandedBack),
            Gate::Late(failure) => {
                for seat in &mut self.seats {
                    seat.failures.push(failure.clone());
                }
                self.undo()
            }
        }
    }

    /// What can go back by itself is in force; the others follow one by one, then everything is confirmed.
    fn go_on(&self) -> Next {
        let is_in_force = self.stage == Stage::Prepare || self.next_for_good().is_none();
        if is_in_force && self.has_to_verify() {
            self.verify()
        } else if self.stage == Stage::Prepare {
            self.run(Phase::Hold, |_| true)
        } else if self.next_for_good().is_some() {
            Next::Ask(Phase::CommitForGood)
        } else if self.seats.iter().any(Seat::is_provisional) {
            Next::Ask(Phase::Confirm)
        } else {
            // In force everywhere: nobody can forbid it any more.
            self.run(Phase::Confirm, |_| true)
        }
    }

    /// Whether functional checks are still to be made.
    fn has_to_verify(&self) -> bool {
        !self.checked.is_empty() && !self.is_verified
    }

    fn verify(&self) -> Next {
        Next::Run(Phase::Verify, self.checked.clone())
    }

    /// Whether all devices can do what their stage needs; those that can't get the reason as their failure.
    fn may_wait(&mut self) -> bool {
        if self.stage != Stage::Prepare {
            return true;
        }
        let mut may = true;
        for seat in &mut self.seats {
            if seat.guarantee != Guarantee::ConfirmedCommit11 {
                may = false;
                let text = "an order over several regions needs the capability :confirmed-commit:1.1 (RFC 6241 \
                            §8.4) on each of its devices, and this one lacks it; make one order per region";
                seat.failures.push(Failure::new(FailureClass::Misconfigured, Phase::Prepare.name(), text));
            }
        }
        may
    }

    /// The device that is to commit for good next: the likeliest to refuse, as running is edited only then.
    fn next_for_good(&self) -> Option<usize> {
        let left = self.seats.iter().enumerate().filter(|(_, seat)| !seat.is_provisional() && !seat.for_good);
        left.max_by_key(|(at, seat)| (seat.guarantee, std::cmp::Reverse(*at))).map(|(at, _)| at)
    }

    fn all(&self, in_force: InForce) -> bool {
        self.seats.iter().all(|seat| seat.in_force == in_force)
    }

    fn any(&self, in_force: InForce) -> bool {
        self.seats.iter().any(|seat| seat.in_force == in_force)
    }

    /// The phase at the devices that need it; over if none does.
    fn run(&self, phase: Phase, needs: impl Fn(&Seat) -> bool) -> Next {
        let devices: Vec<usize> =
            self.seats.iter().enumerate().filter(|(_, seat)| needs(seat)).map(|(at, _)| at).collect();
        if devices.is_empty() { Next::End(self.end) } else { Next::Run(phase, devices) }
    }

    fn release(&mut self, end: End) -> Next {
        self.end = end;
        self.run(Phase::Release, |_| true)
    }

    fn undo(&mut self) -> Next {
        match self.run(Phase::Undo, |seat| !seat.for_good && (seat.prepared || seat.committed)) {
            Next::End(_) => self.revert(),
            next => next,
        }
    }

    /// Undoing is done; where the new configuration is in force all the same, or may be for good, the
    /// inverse edit.
    fn revert(&self) -> Next {
        self.run(Phase::Revert, |seat| {
            seat.in_force == InForce::New || (seat.for_good && seat.in_force == InForce::Unknown)
        })
    }
}

impl Seat {
    /// The device was read back, so what was in doubt is known: a connection was lost, and nothing came of it.
    fn resolve_doubt(&mut self) {
        for failure in &mut self.failures {
            if failure.class == FailureClass::InDoubt {
                failure.class = FailureClass::Unreachable;
            }
        }
    }

    fn learn(&mut self, phase: Phase, answer: Answer) {
        let before = if self.had_new { InForce::New } else { InForce::Old };
        match (phase, answer) {
            (_, Answer::Superseded) | (Phase::Release | Phase::Hold, _) => {}
            (Phase::Recover, Answer::Found(found)) => {
                self.in_force = found;
                self.had_new = found == InForce::New;
            }
            (Phase::Prepare, Answer::Ready(guarantee)) => {
                self.prepared = true;
                self.guarantee = guarantee;
            }
            (Phase::Commit, Answer::Done) => {
                self.committed = true;
                // Not known until it is confirmed or cancelled.
                self.in_force = InForce::Unknown;
            }
            (Phase::Commit, Answer::Failed { failures, touched }) => {
                self.failures.extend(failures);
                self.committed = touched;
                if touched {
                    self.in_force = InForce::Unknown;
                }
            }
            (Phase::CommitForGood, Answer::Done) => {
                self.for_good = true;
                self.in_force = InForce::New;
            }
            (Phase::CommitForGood, Answer::Failed { failures, touched }) => {
                self.failures.extend(failures);
                self.for_good = touched;
                if touched {
                    self.in_force = InForce::Unknown;
                }
            }
            (Phase::Confirm | Phase::Push, Answer::Done) => {
                self.in_force = InForce::New;
                self.failures.clear();
            }
            (Phase::Undo, Answer::Done) => {
                self.in_force = before;
                self.resolve_doubt();
            }
            (Phase::Revert, Answer::Done) => {
                self.in_force = InForce::Old;
                self.resolve_doubt();
            }
            // For good, and neither the old nor the new configuration: the inverse edit follows.
            (Phase::Undo, Answer::Found(InForce::Partly)) => {
                self.in_force = InForce::Unknown;
                self.for_good = true;
            }
            (Phase::Undo | Phase::Settle | Phase::Push | Phase::Revert, Answer::Found(found)) => {
                self.in_force = found;
                if found == InForce::New && matches!(phase, Phase::Settle | Phase::Push) {
                    self.failures.clear();
                }
            }
            (Phase::Settle, Answer::Failed { failures, .. }) => {
                self.in_force = InForce::Unknown;
                self.failures.extend(failures);
            }
            (Phase::Undo | Phase::Push | Phase::Revert, Answer::Failed { failures, touched }) => {
                // Nobody but its session could have cancelled it: what is in force is so for good.
                let stays = phase == Phase::Undo && self.guarantee == Guarantee::ConfirmedCommit10;
                self.for_good |= touched && stays;
                if touched {
                    self.in_force = InForce::Unknown;
                }
                self.failures.extend(failures);
            }
            (Phase::Verify, Answer::Done) => {}
            (
                Phase::Recover | Phase::Prepare | Phase::Verify | Phase::Confirm,
                Answer::Failed { failures, .. },
            ) => self.failures.extend(failures),
            // Answers that no driver gives: what is known stays as it is.
            (Phase::Recover | Phase::Prepare | Phase::Settle, Answer::Done)
            | (
                Phase::Prepare | Phase::Commit | Phase::CommitForGood | Phase::Verify | Phase::Confirm,
                Answer::Found(_),
            )
            | (_, Answer::Ready(_)) => {
                debug_assert!(false, "{phase:?} has no such answer");
            }
        }
    }
}

#[cfg(test)]
mod tests;
