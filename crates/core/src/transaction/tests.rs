//! Every combination of answers of two devices, random ones of more: whatever happens, the new
//! configuration ends up in force everywhere or nowhere as long as devices answer, and nothing is ever
//! said of a device that isn't so.

use proptest::prelude::*;

use super::*;

/// A device as it really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Device {
    /// What is in force for good, or will be when what is pending has gone back.
    kept: InForce,
    /// That is what an earlier deployment has left there.
    left: bool,
    /// A commit of ours is pending.
    pending: bool,
    /// How it can be changed.
    guarantee: Guarantee,
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
                    Answer::Ready(self.guarantee)
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
                    (self.kept, self.left) = (New, false);
                    failed(true)
                }
            },
            Phase::CommitForGood => match choose(4) {
                0 => {
                    (self.kept, self.left) = (New, false);
                    Answer::Done
                }
                1 => failed(false),
                2 => failed(true),
                // A part of it is in, or all.
                _ => {
                    (self.kept, self.left) = (New, false);
                    failed(true)
                }
            },
            Phase::Confirm if !self.guarantee.goes_back_by_itself() => Answer::Done,
            Phase::Confirm => match choose(4) {
                0 => {
                    *self = Self { kept: New, left: false, pending: false, ..*self };
                    Answer::Done
                }
                1 => {
                    *self = Self { kept: New, left: false, pending: false, ..*self };
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
            // Its session has ended and its timer too, and it is neither here nor there.
            Phase::Undo if self.pending && choose(2) == 1 => {
                *self = Self { kept: New, left: false, pending: false, ..*self };
                match self.guarantee {
                    Guarantee::ConfirmedCommit10 if choose(2) == 1 => failed(true),
                    _ => Answer::Found(InForce::Partly),
                }
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
                    *self = Self { kept: New, left: false, pending: false, ..*self }
                }
                // What it has gone back to goes further back.
                if self.left {
                    *self = Self { kept: Old, left: false, ..*self }
                }
                Answer::Found(self.kept)
            }
            Phase::Push => match choose(2) {
                0 => {
                    (self.kept, self.left) = (New, false);
                    Answer::Done
                }
                _ => failed(false),
            },
            Phase::Revert => {
                // Its commit ends whatever is pending.
                *self = Self { kept: Old, left: false, pending: false, ..*self };
                Answer::Done
            }
            Phase::Verify => match choose(2) {
                0 => Answer::Done,
                _ => failed(true),
            },
            Phase::Hold | Phase::Release => Answer::Done,
        }
    }
}

/// What is committed for good comes when all else is provisionally in force, one at a time; what is
/// provisional is confirmed when all the rest is in.
fn check_order(phase: Phase, at: &[usize], devices: &[Device], in_for_good: usize, phases: &[Phase]) {
    let provisional = |d: &Device| d.guarantee.goes_back_by_itself();
    match phase {
        Phase::Commit => assert!(at.iter().all(|d| provisional(&devices[*d]))),
        Phase::CommitForGood => {
            assert!(at.len() == 1 && !provisional(&devices[at[0]]));
            assert!(devices.iter().filter(|d| provisional(d)).all(|d| d.pending), "{phases:?}: {devices:?}");
        }
        Phase::Confirm => {
            let for_good = devices.iter().filter(|d| !provisional(d)).count();
            assert_eq!(in_for_good, for_good, "{phases:?}: {devices:?}");
        }
        _ => {}
    }
}

/// One run; panics when something is wrong. Returns how it ended.
/// `checked`: devices with functional checks.
fn run(
    mut devices: Vec<Device>,
    past: Past,
    (mute, checked): (bool, &[usize]),
    choose: &mut dyn FnMut(usize) -> usize,
) -> End {
    let (transaction, mut next) = Transaction::new(devices.len(), past);
    let mut transaction = transaction.checking(checked.to_vec());
    let before = devices.clone();
    let (mut phases, mut in_for_good) = (Vec::new(), 0);
    let end = loop {
        assert!(phases.len() < 30, "no end: {phases:?}");
        next = match next {
            Next::Run(phase, at) => {
                phases.push(phase);
                check_order(phase, &at, &devices, in_for_good, &phases);
                let answers: Vec<(usize, Answer)> =
                    at.iter().map(|d| (*d, devices[*d].obey(phase, mute, choose))).collect();
                let is_in = phase == Phase::CommitForGood && answers[0].1 == Answer::Done;
                in_for_good += usize::from(is_in);
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
    let place = |phase| phases.iter().position(|p| *p == phase);
    if !checked.is_empty()
        && let Some(confirm) = place(Phase::Confirm)
    {
        assert!(place(Phase::Verify).is_some_and(|verify| verify < confirm), "not checked: {}", say());
    }
    for phase in [Phase::Recover, Phase::Prepare, Phase::Commit, Phase::Verify, Phase::Confirm] {
        assert!(phases.iter().filter(|p| **p == phase).count() <= 1, "{}", say());
    }
    if end != End::Known {
        assert!(!phases.contains(&Phase::Confirm) && !phases.contains(&Phase::Revert), "{}", say());
        return end;
    }
    if !past.begun && phases == [Phase::Recover] {
        // One of them could not say what is left there, so all is as it was, whatever that is.
        assert_eq!(devices, before, "{}", say());
        assert!(transaction.seats().iter().all(|seat| seat.in_force == InForce::Old), "{}", say());
        assert!(transaction.seats().iter().any(|seat| !seat.failures.is_empty()), "{}", say());
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

/// What there may be at a device, with this past.
fn starts(past: Past) -> Vec<Device> {
    use Guarantee::{Candidate, ConfirmedCommit10, ConfirmedCommit11, WritableRunning};
    let mut starts = Vec::new();
    for guarantee in [ConfirmedCommit11, ConfirmedCommit10, Candidate, WritableRunning] {
        let clean = Device { kept: InForce::Old, left: false, pending: false, guarantee };
        starts.push(clean);
        if past != Past::default() {
            starts.push(Device { kept: InForce::New, left: past.unknown, ..clean });
        }
        if past.begun && guarantee.goes_back_by_itself() {
            starts.push(Device { pending: true, ..clean });
        }
    }
    starts
}

fn exhaust(past: Past, mute: bool, checked: &[usize]) -> usize {
    let mut runs = 0;
    for a in starts(past) {
        for b in starts(past) {
            let mut choices = Choices { script: vec![], at: 0 };
            loop {
                run(vec![a, b], past, (mute, checked), &mut |among| choices.choose(among));
                runs += 1;
                if !choices.advance() {
                    break;
                }
            }
        }
    }
    runs
}

const PASTS: [Past; 4] = [
    Past { begun: false, unknown: false },
    Past { begun: true, unknown: false },
    Past { begun: false, unknown: true },
    Past { begun: true, unknown: true },
];

#[test]
fn two_devices_that_answer_never_end_in_a_mixture() {
    for past in PASTS {
        for checked in [&[][..], &[1], &[0, 1]] {
            assert!(exhaust(past, false, checked) > 50);
        }
    }
}

#[test]
fn of_devices_that_fall_silent_nothing_wrong_is_said() {
    for past in PASTS {
        for checked in [&[][..], &[1]] {
            assert!(exhaust(past, true, checked) > 100);
        }
    }
}

proptest! {
    #[test]
    fn more_devices(
        starts in prop::collection::vec(0_usize..10, 1..7),
        past in prop::sample::select(&PASTS[..]),
        mute: bool,
        checks: bool,
        picks in prop::collection::vec(0_usize..60, 200),
    ) {
        let states = super::tests::starts(past);
        let devices: Vec<Device> = starts.iter().map(|at| states[at % states.len()]).collect();
        let mut picks = picks.into_iter().cycle();
        let checked: Vec<usize> = (0..devices.len()).filter(|_| checks).collect();
        run(devices, past, (mute, &checked), &mut |among| picks.next().unwrap() % among);
    }
}

#[test]
fn a_part_that_can_not_find_out_what_is_left_does_not_know() {
    let past = Past { begun: false, unknown: true };
    let (mut transaction, _) = Transaction::part(Stage::Prepare, 3, past);
    let found = |at, found| (at, Answer::Found(found));
    let answers = vec![found(0, InForce::New), (1, failed(false)), found(2, InForce::Old)];
    assert_eq!(transaction.answered(Phase::Recover, answers), Next::End(End::Known));
    let known: Vec<InForce> = transaction.seats().iter().map(|seat| seat.in_force).collect();
    assert_eq!(known, [InForce::Unknown, InForce::Unknown, InForce::Old]);
}

#[test]
fn all_new_on_recovery_is_committed_without_touching_anything() {
    let (mut transaction, next) = Transaction::new(2, Past { begun: true, unknown: false });
    assert_eq!(next, Next::Run(Phase::Recover, vec![0, 1]));
    let found = |at| (at, Answer::Found(InForce::New));
    assert_eq!(transaction.answered(Phase::Recover, vec![found(0), found(1)]), Next::End(End::Known));
    assert!(transaction.seats().iter().all(|seat| seat.in_force == InForce::New));
}

#[test]
fn only_what_was_prepared_is_undone() {
    let (mut transaction, _) = Transaction::new(3, Past::default());
    let ready = Answer::Ready(Guarantee::ConfirmedCommit11);
    let answers = vec![(0, ready.clone()), (1, failed(false)), (2, ready)];
    assert_eq!(transaction.answered(Phase::Prepare, answers), Next::Run(Phase::Undo, vec![0, 2]));
}

#[test]
fn the_likeliest_to_refuse_commits_for_good_first_and_what_was_provisional_is_confirmed_last() {
    use Guarantee::{Candidate, ConfirmedCommit10, ConfirmedCommit11, WritableRunning};
    let guarantees = [Candidate, WritableRunning, ConfirmedCommit11, Candidate, ConfirmedCommit10];
    let (mut transaction, _) = Transaction::new(guarantees.len(), Past::default());
    let ready = guarantees.into_iter().map(Answer::Ready).enumerate().collect();
    assert_eq!(transaction.answered(Phase::Prepare, ready), Next::Ask(Phase::Commit));
    assert_eq!(transaction.gated(Phase::Commit, Gate::Open), Next::Run(Phase::Commit, vec![2, 4]));
    let mut next = transaction.answered(Phase::Commit, vec![(2, Answer::Done), (4, Answer::Done)]);
    for device in [1, 0, 3] {
        assert_eq!(next, Next::Ask(Phase::CommitForGood));
        let run = transaction.gated(Phase::CommitForGood, Gate::Open);
        assert_eq!(run, Next::Run(Phase::CommitForGood, vec![device]));
        next = transaction.answered(Phase::CommitForGood, vec![(device, Answer::Done)]);
    }
    assert_eq!(next, Next::Ask(Phase::Confirm));
    assert_eq!(transaction.gated(Phase::Confirm, Gate::Open), Next::Run(Phase::Confirm, vec![0, 1, 2, 3, 4]));
}

#[test]
fn when_one_refuses_what_is_provisional_is_cancelled_and_what_is_in_for_good_is_reverted() {
    use Guarantee::{Candidate, ConfirmedCommit11};
    let (mut transaction, _) = Transaction::new(3, Past::default());
    let ready = [ConfirmedCommit11, Candidate, Candidate].into_iter().map(Answer::Ready).enumerate();
    transaction.answered(Phase::Prepare, ready.collect());
    transaction.gated(Phase::Commit, Gate::Open);
    transaction.answered(Phase::Commit, vec![(0, Answer::Done)]);
    transaction.gated(Phase::CommitForGood, Gate::Open);
    transaction.answered(Phase::CommitForGood, vec![(1, Answer::Done)]);
    transaction.gated(Phase::CommitForGood, Gate::Open);
    // The first is cancelled, the last let go of, and then the one that is in taken back.
    let next = transaction.answered(Phase::CommitForGood, vec![(2, failed(false))]);
    assert_eq!(next, Next::Run(Phase::Undo, vec![0, 2]));
    let next = transaction.answered(Phase::Undo, vec![(0, Answer::Done), (2, Answer::Done)]);
    assert_eq!(next, Next::Run(Phase::Revert, vec![1]));
    assert_eq!(transaction.answered(Phase::Revert, vec![(1, Answer::Done)]), Next::End(End::Known));
    assert!(transaction.seats().iter().all(|seat| seat.in_force == InForce::Old));
}
