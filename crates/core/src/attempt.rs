//! What an attempt at a deployment may do by what its worker knows: whether another worker may have been at it,
//! when it may be taken over, whether a phase may begin, when a device's word is to be believed. Pure: whoever asks
//! says how long ago things were.
//!
//! The rules lean on each other. Before anything is put in force, a first delivery asks unless its message is younger
//! than [`ASKS_AFTER`]; nobody takes a deployment over whose message is younger than [`TAKEN_OVER_AFTER`]. So whoever
//! goes on without having asked does so before anybody could have taken over, even by clocks that are seconds apart.
//! What is in force or pending meanwhile is protected by the device's own locks.

use std::time::Duration;

use crate::{
    failure::{Failure, FailureClass},
    transaction::{Gate, Phase},
};

/// A message so old may have been given up and sent again: the copy may be worked on, or ended.
pub const OLD: Duration = Duration::from_secs(60);
/// After so long without being known to be current, an attempt asks before it begins the next phase.
pub const ASKS_AFTER: Duration = Duration::from_secs(2);
/// A deployment is taken over no sooner than so long after its message was published: by then whoever got it first
/// asks, even if the clocks of the two workers are up to 4 s apart (the message's time is in whole seconds).
pub const TAKEN_OVER_AFTER: Duration = Duration::from_secs(7);
/// How long the answer may take while devices wait with their locks held.
pub const ASKING_PATIENCE: Duration = Duration::from_secs(30);
/// What it is given in any case.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);
/// An answer so new needs no second question.
pub const FRESH: Duration = Duration::from_secs(1);
/// The phase of a failure that no device is to blame for: time ran out before the next phase.
pub const DEADLINE: &str = "deadline";
/// A device's timer may be late by so much.
pub const TIMER_SLACK: Duration = Duration::from_secs(5);

/// Whether another delivery of the same message may have been worked on. `marked`: the broker or the relay says
/// that it may have been delivered before. `age`: time since it was published.
#[must_use]
pub fn may_be_a_repeat(marked: bool, age: Duration) -> bool {
    marked || age > OLD
}

/// How long to wait before a deployment is taken over whose message has this age.
#[must_use]
pub fn taken_over_in(age: Duration) -> Duration {
    TAKEN_OVER_AFTER.saturating_sub(age)
}

/// What is known when a phase is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doorstep {
    /// The broker still regards the delivery as ours, as far as the worker knows.
    pub held: bool,
    /// The attempt has taken the deployment over, so it may be taken over from it just as well, at any time.
    pub took_over: bool,
    /// Something had to be waited for, so the world may have changed.
    pub waited: bool,
    /// Since the attempt was last known to be current; of a first delivery that has not asked yet, since its message
    /// was published.
    pub known_ago: Duration,
    /// Since the first provisional commit was sent; none: none was.
    pub since_commit: Option<Duration>,
    /// Half of the devices' confirm timer.
    pub half_of_timer: Duration,
    /// What is left of the time for going forward.
    pub left: Duration,
}

/// What to do before a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one value at a time, never stored in numbers")]
pub enum Step {
    /// The answer is known.
    Say(Gate),
    /// Ask whether the attempt is current, and wait so long for the answer. If it is, [`Doorstep::gate`] says the
    /// rest; if it is not, or nobody answers, that is the answer.
    Ask(Duration),
}

impl Doorstep {
    /// What to do before `phase` begins.
    #[must_use]
    pub fn step(&self, phase: Phase) -> Step {
        if !self.held {
            Step::Say(Gate::Cut)
        } else if self.left.is_zero() {
            let text = format!("the time for the deployment ran out before {}", phase.name());
            Step::Say(Gate::Late(late(text)))
        } else if self.took_over || self.waited || self.known_ago >= ASKS_AFTER {
            // Even if it is too late to confirm by then: whoever is current takes everything back and says why.
            let hurry = self.since_commit.map(|since| self.half_of_timer.saturating_sub(since));
            let patience =
                hurry.map_or(ASKING_PATIENCE, |hurry| hurry.clamp(LEAST_PATIENCE, ASKING_PATIENCE));
            Step::Ask(patience.min(self.left))
        } else {
            Step::Say(self.gate(phase))
        }
    }

    /// Whether `phase` may begin, of an attempt that is current. With less than half of the timer left, some device
    /// might go back while others are being confirmed.
    #[must_use]
    pub fn gate(&self, phase: Phase) -> Gate {
        let is_last = matches!(phase, Phase::CommitForGood | Phase::Confirm);
        if is_last && self.since_commit.is_some_and(|since| since > self.half_of_timer) {
            let text = "more than half of the confirm timeout had passed before all devices had committed; \
                        raise confirm_timeout_s";
            return Gate::Late(late(text));
        }
        Gate::Open
    }
}

fn late(text: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Unreachable, DEADLINE, text)
}

/// Whether an attempt needs no question before it goes back to a device. What is known so newly holds, unless the
/// attempt has been taken over itself: the next one may be by now.
#[must_use]
pub fn is_surely_current(held: bool, took_over: bool, known_ago: Duration) -> bool {
    held && !took_over && known_ago < FRESH
}

/// What the answer to a `lock` of running says (RFC 6241 §7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Granted.
    Granted,
    /// Denied: this session holds it. None, or session 0: something that is no session of the device, like a
    /// commit that is pending.
    Denied(Option<u32>),
}

/// Whether what was sent before is carried out by now, and what can be read is there for good, as far as that can be
/// told on a session of one's own. A device lets go of a session's locks when it has carried out its last request,
/// and grants none while a commit is pending.
///
/// `lost`: sessions of this attempt that were lost. `others`: an earlier attempt may have lost some as well, of which
/// nobody knows the numbers. `asked_for`: how long it has been asked.
#[must_use]
pub fn is_settled(
    lock: Lock,
    lost: &[u32],
    others: bool,
    asked_for: Duration,
    confirm_timeout: Duration,
) -> bool {
    // Whatever was pending when the first question was asked has gone back by then.
    let is_late = asked_for >= confirm_timeout + TIMER_SLACK;
    match lock {
        Lock::Granted => true,
        Lock::Denied(Some(holder)) if lost.contains(&holder) => false,
        Lock::Denied(None | Some(0)) => is_late,
        Lock::Denied(Some(_)) => !others || is_late,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const DOORSTEP: Doorstep = Doorstep {
        held: true,
        took_over: false,
        waited: false,
        known_ago: s(1),
        since_commit: None,
        half_of_timer: s(30),
        left: s(100),
    };

    fn is_late(step: &Step) -> bool {
        matches!(step, Step::Say(Gate::Late(_)))
    }

    #[test]
    fn who_runs_without_asking_can_not_have_been_taken_over() {
        // By a clock that is 4 s ahead of the other's, of a message whose time is short of its second.
        for by_the_first in (0..20_000).map(Duration::from_millis) {
            let by_the_second = by_the_first + s(4) + Duration::from_millis(999);
            assert!(
                !taken_over_in(by_the_second).is_zero() || by_the_first >= ASKS_AFTER,
                "{by_the_first:?}"
            );
        }
        assert!(OLD > TAKEN_OVER_AFTER);
    }

    #[test]
    fn it_is_asked_where_things_may_have_changed() {
        let step = |doorstep: Doorstep| doorstep.step(Phase::Commit);
        assert_eq!(step(DOORSTEP), Step::Say(Gate::Open));
        assert_eq!(step(Doorstep { held: false, ..DOORSTEP }), Step::Say(Gate::Cut));
        for changed in [
            Doorstep { took_over: true, known_ago: s(0), ..DOORSTEP },
            Doorstep { waited: true, known_ago: s(0), ..DOORSTEP },
            Doorstep { known_ago: ASKS_AFTER, ..DOORSTEP },
        ] {
            assert_eq!(step(changed), Step::Ask(s(30)));
            assert_eq!(step(Doorstep { left: s(7), ..changed }), Step::Ask(s(7)));
            assert!(is_late(&step(Doorstep { left: s(0), ..changed })));
        }
    }

    #[test]
    fn past_half_of_the_timer_it_is_late_and_not_lost() {
        let at = |since| Doorstep { since_commit: Some(s(since)), known_ago: s(9), ..DOORSTEP };
        assert_eq!(at(20).step(Phase::Confirm), Step::Ask(s(10)), "an answer that comes later is of no use");
        // There is time to be told who is to take it back.
        for since in [29, 30, 31] {
            assert_eq!(at(since).step(Phase::Confirm), Step::Ask(s(5)));
        }
        assert_eq!(at(30).gate(Phase::Confirm), Gate::Open);
        for phase in [Phase::Confirm, Phase::CommitForGood] {
            assert!(matches!(at(31).gate(phase), Gate::Late(_)));
        }
        assert!(is_late(&Doorstep { known_ago: s(0), ..at(31) }.step(Phase::Confirm)));
        assert_eq!(at(31).gate(Phase::Commit), Gate::Open);
    }

    #[test]
    fn nothing_is_believed_that_may_still_change() {
        let lost = [4, 7];
        let settled = |lock, others, asked| is_settled(lock, &lost, others, s(asked), s(20));
        assert!(settled(Lock::Granted, true, 0));
        for others in [false, true] {
            for asked in [0, 24, 25, 10_000] {
                assert!(!settled(Lock::Denied(Some(7)), others, asked), "our own request is on its way");
                // A commit is pending, or it is not said who holds it.
                assert_eq!(settled(Lock::Denied(None), others, asked), asked >= 25);
                assert_eq!(settled(Lock::Denied(Some(0)), others, asked), asked >= 25);
                assert_eq!(settled(Lock::Denied(Some(9)), others, asked), !others || asked >= 25);
            }
        }
    }

    #[test]
    fn what_was_taken_over_is_asked_about_each_time() {
        assert!(is_surely_current(true, false, s(0)) && !is_surely_current(true, false, s(1)));
        assert!(!is_surely_current(true, true, s(0)) && !is_surely_current(false, false, s(0)));
    }

    #[test]
    fn what_is_marked_or_old_may_be_a_repeat() {
        assert!(may_be_a_repeat(true, s(0)) && may_be_a_repeat(false, s(61)));
        assert!(!may_be_a_repeat(false, s(60)));
        assert_eq!((taken_over_in(s(2)), taken_over_in(s(99))), (s(5), s(0)));
    }
}
