//! Drives a network transaction: carries out what [`Transaction`] says at all devices at once, and asks
//! before each phase whether it may begin.

use futures_util::future::join_all;
use tokio::time::Instant;
use turnup_core::{
    attempt::{Doorstep, Step},
    failure::FailureClass,
    message::InForce,
    transaction::{Answer, End, Gate, Next, Past, Phase, Seat, Transaction},
};

use crate::{
    crash,
    currency::Verdict,
    device::{Device, Job},
};

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
    let past = Past { begun: recovery, unknown: job.past_unknown };
    let (transaction, mut next) = Transaction::part(job.stage, devices.len(), past);
    let checked = devices.iter().enumerate().filter(|(_, device)| device.has_checks()).map(|(at, _)| at);
    let mut transaction = transaction.checking(checked.collect());
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
            Phase::Verify => crash::pass(crash::AFTER_VERIFY),
            Phase::Hold => crash::pass(crash::AFTER_HOLD),
            Phase::Confirm => crash::pass(crash::AFTER_CONFIRM),
            _ => {}
        }
    }
}

/// Whether a phase may begin.
async fn gate(job: &Job<'_>, devices: &mut [Device<'_>], phase: Phase) -> Gate {
    let now = Instant::now();
    let since_commit = |devices: &[Device<'_>]| devices.iter().filter_map(Device::since_commit).max();
    let waited = devices.iter_mut().fold(false, |any, device| std::mem::take(&mut device.waited) | any);
    let doorstep = Doorstep {
        held: job.currency.is_held(),
        took_over: job.currency.took_over(),
        waited,
        known_ago: job.currency.age(),
        since_commit: since_commit(devices),
        half_of_timer: job.half_of_timer(),
        left: job.forward_by.saturating_duration_since(now),
    };
    let patience = match doorstep.step(phase) {
        Step::Say(gate) => return gate,
        Step::Ask(patience) => patience,
    };
    match job.currency.check(now + patience).await {
        Verdict::Current => Doorstep { since_commit: since_commit(devices), ..doorstep }.gate(phase),
        Verdict::Superseded => Gate::Superseded,
        Verdict::Unknown => Gate::Cut,
    }
}
