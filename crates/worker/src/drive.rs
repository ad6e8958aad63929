//! Drives a network transaction: carries out what [`Transaction`] says at all devices at once, and asks
//! before each phase whether it may begin.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use turnup_core::{
    failure::{Failure, FailureClass},
    message::InForce,
    transaction::{Answer, End, Gate, Next, Phase, Seat, Transaction},
};

use crate::{
    crash,
    currency::Verdict,
    device::{Device, Job},
};

/// After so long without being known to be current, the attempt is checked before the next phase.
const RECHECK_AFTER: Duration = Duration::from_secs(5);
/// How long the answer may take while devices wait with their locks held.
const RECHECK_PATIENCE: Duration = Duration::from_secs(30);

/// How a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At once: nobody else has been at the devices for it.
    Fresh,
    /// As one of several: it is asked first whether it may.
    Another,
    /// By finding out what an earlier worker has left.
    Recovery,
}

/// Runs the transaction to its end.
pub(crate) async fn drive(job: &Job<'_>, devices: &mut [Device<'_>], begin: Begin) -> (Transaction, End) {
    let recovery = begin == Begin::Recovery;
    let (mut transaction, mut next) = Transaction::part(job.stage, devices.len(), recovery);
    if begin == Begin::Another && !devices.is_empty() {
        next = Next::Ask(Phase::Prepare);
    }
    loop {
        next = match next {
            Next::Run(phase, at) => {
                job.progress.enter(phase);
                let answers = match (phase, &transaction) {
                    (Phase::Release, transaction) => {
                        release(devices, transaction).await;
                        Vec::new()
                    }
                    (_, transaction) => run(phase, &at, devices, transaction).await,
                };
                if answers.iter().any(|(_, answer)| is_doubtful(answer)) {
                    job.progress.set_doubt(true);
                }
                pass_crash_point(phase, &answers);
                let next = transaction.answered(phase, answers);
                job.progress.learn(transaction.seats());
                let doubtful = |(at, seat): (usize, &Seat)| {
                    seat.in_force == InForce::Unknown && (recovery || transaction.committed(at))
                };
                if phase != Phase::Commit && !transaction.seats().iter().enumerate().any(doubtful) {
                    job.progress.set_doubt(false);
                }
                next
            }
            Next::Ask(phase) => {
                let gate = gate(job, devices, phase).await;
                transaction.gated(phase, gate)
            }
            Next::End(end) => {
                for device in devices {
                    device.finish();
                }
                return (transaction, end);
            }
        };
    }
}

/// One phase at these devices.
async fn run(
    phase: Phase,
    at: &[usize],
    devices: &mut [Device<'_>],
    transaction: &Transaction,
) -> Vec<(usize, Answer)> {
    let mut work = Vec::with_capacity(at.len());
    for (index, device) in devices.iter_mut().enumerate().filter(|(index, _)| at.contains(index)) {
        let (committed, had_new) = (transaction.committed(index), transaction.had_new(index));
        work.push(Box::pin(async move { (index, device.obey(phase, committed, had_new).await) }));
    }
    if phase == Phase::Confirm && crash::confirms_one_by_one() {
        let mut answers = Vec::with_capacity(work.len());
        for one in work {
            answers.push(one.await);
            crash::pass(crash::AFTER_CONFIRM_FIRST);
        }
        return answers;
    }
    join_all(work).await
}

async fn release(devices: &mut [Device<'_>], transaction: &Transaction) {
    let work = devices.iter_mut().enumerate().map(|(index, device)| {
        Box::pin(async move {
            match transaction.is_superseded() {
                true => device.abandon(),
                false => device.release(transaction.committed(index)).await,
            }
        })
    });
    join_all(work).await;
}

fn is_doubtful(answer: &Answer) -> bool {
    match answer {
        Answer::Failed { failures, .. } => failures.iter().any(|f| f.class == FailureClass::InDoubt),
        _ => false,
    }
}

fn pass_crash_point(phase: Phase, answers: &[(usize, Answer)]) {
    if matches!(phase, Phase::Recover | Phase::Undo | Phase::Revert) {
        crash::pass(crash::AFTER_UNDO);
    }
    if answers.iter().all(|(_, answer)| matches!(answer, Answer::Done | Answer::Ready(_))) {
        match phase {
            Phase::Prepare => crash::pass(crash::AFTER_PREPARE),
            Phase::Commit => crash::pass(crash::AFTER_PROVISIONAL),
            Phase::CommitForGood => crash::pass(crash::AFTER_FOR_GOOD),
            Phase::Hold => crash::pass(crash::AFTER_HOLD),
            Phase::Confirm => crash::pass(crash::AFTER_CONFIRM),
            _ => {}
        }
    }
}

/// Whether a phase may begin.
async fn gate(job: &Job<'_>, devices: &mut [Device<'_>], phase: Phase) -> Gate {
    if !job.currency.is_held() {
        return Gate::Cut;
    }
    let now = Instant::now();
    if now >= job.forward_by {
        let text = format!("the time for the deployment ran out before {}", phase.name());
        return Gate::Late(Failure::new(FailureClass::Unreachable, phase.name(), text));
    }
    let half = job.half_of_timer();
    let since_commit = |devices: &[Device<'_>]| devices.iter().filter_map(Device::since_commit).max();
    let waited = devices.iter_mut().fold(false, |any, device| std::mem::take(&mut device.waited) | any);
    if waited || job.currency.age() >= RECHECK_AFTER {
        let left = since_commit(devices).map_or(RECHECK_PATIENCE, |since| half.saturating_sub(since));
        match job.currency.check((now + left.min(RECHECK_PATIENCE)).min(job.forward_by)).await {
            Verdict::Current => {}
            Verdict::Superseded => return Gate::Superseded,
            Verdict::Unknown => return Gate::Cut,
        }
    }
    // With less left, some device may go back while others are being confirmed.
    if matches!(phase, Phase::CommitForGood | Phase::Confirm)
        && since_commit(devices).is_some_and(|since| since > half)
    {
        let text = "more than half of the confirm timeout had passed before all devices had committed; \
                    raise confirm_timeout_s";
        return Gate::Late(Failure::new(FailureClass::Unreachable, phase.name(), text));
    }
    Gate::Open
}
