//! Every combination of answers of two devices, random ones of more: whatever happens, the new
//! configuration ends up in force everywhere or nowhere as long as devices answer, and nothing is ever
//! said of a device that isn't so.

use proptest::prelude::*;

use turnup_core::failure::FailureClass;

use super::*;

/// A device as it really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Device {
    /// What is in force for good, or will be when what is pending has gone back.
    kept: InForce,
    /// A commit of ours is pending.
    pending: bool,
}

/// Makes every choice: the first run takes 0 everywhere, the next ones all others in turn.
struct Choices {
    script: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn choose(&mut self, among: usize) -> usize {
        if self.at == self.script.len() {
            self.script.push((0, among));
        }
        let (chosen, n) = self.script[self.at];
        assert_eq!(n, among, "the machine is deterministic");
        self.at += 1;
        chosen
    }

    /// Prepares the next run; false when all were made.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, n)) = self.script.pop() {
            if chosen + 1 < n {
                self.script.push((chosen + 1, n));
                return true;
            }
        }
        false
    }
}

fn failed(touched: bool) -> Answer {
    Answer::Failed { failures: vec![Failure::new(FailureClass::Unreachable, "x", "x")], touched }
}

impl Device {
    /// Carries out a command one of the ways in which that can go.
    fn obey(&mut self, phase: Phase, may_be_mute: bool, choose: &mut dyn FnMut(usize) -> usize) -> Answer {
        use InForce::{New, Old};
        let resolves = matches!(phase, Phase::Recover | Phase::Undo | Phase::Settle | Phase::Revert);
        if may_be_mute && resolves && choose(2) == 1 {
            return failed(true);
        }
        match phase {
            Phase::Prepare => {
                if choose(2) == 0 {
                    Answer::Done
                } else {
                    failed(false)
                }
            }
            Phase::Commit => match choose(5) {
                0 => {
                    self.pending = true;
                    Answer::Done
                }
                1 => failed(false),
                2 => failed(true),
                3 => {
                    self.pending = true;
                    failed(true)
                }
                // A device that knows no confirmed commit and says it does.
                _ => {
                    self.kept = New;
                    failed(true)
                }
            },
            Phase::Confirm => match choose(4) {
                0 => {
                    *self = Self { kept: New, pending: false };
                    Answer::Done
                }
                1 => {
                    *self = Self { kept: New, pending: false };
                    failed(true)
                }
                2 => failed(true),
                // Its timer was faster.
                _ => {
                    self.pending = false;
                    failed(true)
                }
            },
            Phase::Recover => {
                self.pending = false;
                Answer::Found(self.kept)
            }
            Phase::Undo => {
                let committed = self.pending;
                self.pending = false;
                // The driver compares with what was there before the commit: it can only tell New from
                // before where the commit was the first of its kind.
                if committed || self.kept == Old { Answer::Done } else { Answer::Found(New) }
            }
            Phase::Settle => {
                if self.pending {
                    *self = Self { kept: New, pending: false }
                }
                Answer::Found(self.kept)
            }
            Phase::Push => match choose(2) {
                0 => {
                    self.kept = New;
                    Answer::Done
                }
                _ => failed(false),
            },
            Phase::Revert => {
                self.kept = Old;
                Answer::Done
            }
            Phase::Release => Answer::Done,
        }
    }
}

/// One run; panics when something is wrong. Returns how it ended.
fn run(mut devices: Vec<Device>, recovery: bool, mute: bool, choose: &mut dyn FnMut(usize) -> usize) -> End {
    let (mut transaction, mut next) = Transaction::new(devices.len(), recovery);
    let mut phases = Vec::new();
    let end = loop {
        assert!(phases.len() < 20, "no end: {phases:?}");
        next = match next {
            Next::Run(phase, at) => {
                phases.push(phase);
                let answers = at.iter().map(|d| (*d, devices[*d].obey(phase, mute, choose))).collect();
                transaction.answered(phase, answers)
            }
            Next::Ask(phase) => {
                let late = Failure::new(FailureClass::Unreachable, "x", "late");
                let gates = [Gate::Open, Gate::Late(late), Gate::Superseded, Gate::Cut];
                transaction.gated(phase, gates[choose(gates.len())].clone())
            }
            Next::End(end) => break end,
        };
    };
    let say = || format!("{phases:?}: {devices:?}, {:?}", transaction.seats());
    for phase in [Phase::Recover, Phase::Prepare, Phase::Commit, Phase::Confirm] {
        assert!(phases.iter().filter(|p| **p == phase).count() <= 1, "{}", say());
    }
    if end != End::Known {
        assert!(!phases.contains(&Phase::Confirm) && !phases.contains(&Phase::Revert), "{}", say());
        return end;
    }
    for (device, seat) in devices.iter().zip(transaction.seats()) {
        let known = seat.in_force != InForce::Unknown;
        assert!(!known || (seat.in_force == device.kept && !device.pending), "{}", say());
        assert!(known || mute, "{}", say());
        assert!(known || !seat.failures.is_empty(), "what isn't known has a reason: {}", say());
    }
    if !mute {
        assert!(devices.iter().all(|d| d.kept == devices[0].kept), "a mixture: {}", say());
    }
    if devices.iter().any(|d| d.kept == InForce::Old) {
        assert!(
            transaction.seats().iter().any(|seat| !seat.failures.is_empty()),
            "failed without a reason: {}",
            say()
        );
    }
    end
}

fn starts(recovery: bool) -> Vec<Device> {
    let clean = Device { kept: InForce::Old, pending: false };
    if recovery {
        vec![clean, Device { pending: true, ..clean }, Device { kept: InForce::New, pending: false }]
    } else {
        vec![clean]
    }
}

fn exhaust(recovery: bool, mute: bool) -> usize {
    let mut runs = 0;
    for a in starts(recovery) {
        for b in starts(recovery) {
            let mut choices = Choices { script: vec![], at: 0 };
            loop {
                run(vec![a, b], recovery, mute, &mut |among| choices.choose(among));
                runs += 1;
                if !choices.advance() {
                    break;
                }
            }
        }
    }
    runs
}

#[test]
fn two_devices_that_answer_never_end_in_a_mixture() {
    assert!(exhaust(false, false) > 50);
    assert!(exhaust(true, false) > 100);
}

#[test]
fn of_devices_that_fall_silent_nothing_wrong_is_said() {
    assert!(exhaust(false, true) > 100);
    assert!(exhaust(true, true) > 200);
}

proptest! {
    #[test]
    fn more_devices(
        starts in prop::collection::vec(0_usize..3, 1..7),
        recovery: bool,
        mute: bool,
        picks in prop::collection::vec(0_usize..60, 200),
    ) {
        let states = super::tests::starts(recovery);
        let devices = starts.iter().map(|at| states[at % states.len()]).collect();
        let mut picks = picks.into_iter().cycle();
        run(devices, recovery, mute, &mut |among| picks.next().unwrap() % among);
    }
}

#[test]
fn all_new_on_recovery_is_committed_without_touching_anything() {
    let (mut transaction, next) = Transaction::new(2, true);
    assert_eq!(next, Next::Run(Phase::Recover, vec![0, 1]));
    let found = |at| (at, Answer::Found(InForce::New));
    assert_eq!(transaction.answered(Phase::Recover, vec![found(0), found(1)]), Next::End(End::Known));
    assert!(transaction.seats().iter().all(|seat| seat.in_force == InForce::New));
}

#[test]
fn only_what_was_prepared_is_undone() {
    let (mut transaction, _) = Transaction::new(3, false);
    let answers = vec![(0, Answer::Done), (1, failed(false)), (2, Answer::Done)];
    assert_eq!(transaction.answered(Phase::Prepare, answers), Next::Run(Phase::Undo, vec![0, 2]));
}
