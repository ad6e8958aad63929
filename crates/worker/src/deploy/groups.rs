//! A deployment of several orders: one network transaction for all of them, and if the content of one is
//! refused, further ones until it is alone.

use futures_util::future::{join, join_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turnup_core::{
    failure::{Failure, FailureClass},
    message::InForce,
    transaction::{Answer, End, Phase},
};

use super::{Outcome, Run, barred, objection, too_many};
use crate::{
    crash,
    device::{Device, Job},
    drive::{Begin, drive},
    ledger::{Found, Ledger},
    progress::Progress,
    report::Parts,
    search::{Search, Tried},
    work::Work,
};

impl Run<'_> {
    /// Deploys the orders, each in force everywhere or nowhere, whatever becomes of the others.
    pub(super) async fn transact_group(&self, attempt: i32, sequence: i32, total_by: Instant) -> Outcome {
        let deployment = self.deployment;
        let mut ledger = Ledger::new(deployment);
        // Everything is parsed before the first device hears of it.
        for order in ledger.left() {
            let works = ledger.part(&[order]);
            let bad = works.iter().find_map(|(_, work)| Some((work, Work::new(work).err()?)));
            // What a worker that allows more may have begun is brought to its end.
            let too_many = too_many(works.len(), self.context.shared).filter(|_| !self.is_repeat);
            let failure = match (bad, too_many) {
                (Some((work, error)), _) => objection(format!("{}: {error}", work.device)),
                (None, Some(failure)) => failure,
                (None, None) if works.is_empty() => {
                    objection("the deployment has nothing to do for this order")
                }
                (None, None) => continue,
            };
            ledger.end(order, vec![failure], |_| InForce::Old);
        }
        for (place, failure) in barred(deployment, self.context.shared) {
            ledger.bar(place, &failure);
        }
        let progress = Progress::default();
        let mut job = self.job(attempt, total_by, &progress);
        let over = CancellationToken::new();
        let work = async {
            let end = Box::pin(self.parts(&mut job, &mut ledger, total_by)).await;
            over.cancel();
            end
        };
        let (end, sequence) = join(work, self.tell(attempt, sequence, &progress, &over)).await;
        let said = ledger.take_transcripts();
        match end {
            // None of these is a part that could be only prepared.
            End::Known | End::Prepared => {
                let phase = progress.state().phase.map_or("start", |phase| phase.name());
                self.report(attempt, sequence, ledger.ending(phase), said)
            }
            End::Superseded => {
                tracing::info!(deployment = %deployment.deployment, attempt, "another worker has taken the deployment over");
                self.tell_transcript(attempt, said).await;
                Outcome::Forget
            }
            End::HandedBack => {
                self.tell_transcript(attempt, said).await;
                Outcome::Release
            }
        }
    }

    /// Tries parts until it is over for every order. Each may take half of the time that is left, and so may
    /// finding out what an earlier worker has left: what hangs must not be the end of those that come after.
    async fn parts(&self, job: &mut Job<'_>, ledger: &mut Ledger<'_>, total_by: Instant) -> End {
        let half = |job: &mut Job<'_>| {
            let now = Instant::now();
            job.total_by = now + total_by.saturating_duration_since(now) / 2;
            job.forward_by = self.forward_by(job.total_by);
        };
        let mut begin = Begin::Fresh;
        if self.is_repeat {
            begin = Begin::Another;
            half(job);
            let halfway = match self.survey(job, ledger).await {
                Ok(halfway) => halfway,
                Err(end) => return end,
            };
            // Each of one transaction that was being confirmed: forward together, or back.
            for part in halfway {
                half(job);
                match self.part(job, ledger, &part, Begin::Recovery).await {
                    Ok(found) => {
                        ledger.judge(&part, &found, phase_of(job));
                        ledger.shut_out();
                    }
                    Err(end) => return end,
                }
            }
        }
        let mut search = Search::new(ledger.left());
        while let Some(part) = search.next().map(<[usize]>::to_vec) {
            if part.len() > 1 && too_many(ledger.part(&part).len(), self.context.shared).is_some() {
                search.tried(Tried::Refused(None));
                continue;
            }
            half(job);
            let found = match self.part(job, ledger, &part, begin).await {
                Ok(found) => found,
                Err(end) => return end,
            };
            begin = Begin::Another;
            search.tried(ledger.judge(&part, &found, phase_of(job)));
            search.forget(&ledger.shut_out());
            metrics::counter!("turnup_worker_group_parts_total").increment(1);
            crash::pass(crash::AFTER_PART);
        }
        End::Known
    }

    /// One network transaction over these orders' devices.
    async fn part(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger<'_>,
        orders: &[usize],
        begin: Begin,
    ) -> Result<Vec<Found>, End> {
        let asked = ledger.part(orders);
        let places: Vec<usize> = asked.iter().map(|(place, _)| *place).collect();
        // They were parsed before.
        let works: Result<Vec<Work>, _> = asked.iter().map(|(_, work)| Work::new(work)).collect();
        let works = match works {
            Ok(works) => works,
            Err(error) => {
                let failure = Failure::new(FailureClass::Misconfigured, "check", error.to_string());
                let found = |place| Found { place, in_force: InForce::Old, failures: vec![failure.clone()] };
                return Ok(places.into_iter().map(found).collect());
            }
        };
        job.progress.go_to(places.clone(), self.deployment.devices.len());
        let devices = asked.iter().zip(&works);
        let mut devices: Vec<Device<'_>> =
            devices.map(|((_, asked), work)| Device::new(job, asked, work)).collect();
        let (transaction, end) = Box::pin(drive(job, &mut devices, begin)).await;
        for (place, device) in places.iter().zip(&mut devices) {
            ledger.saw(*place, parts_of(device));
            if let Some(said) = device.take_transcript() {
                ledger.heard(*place, said);
            }
        }
        if end != End::Known {
            return Err(end);
        }
        let found = places.into_iter().zip(transaction.seats()).map(|(place, seat)| Found {
            place,
            in_force: seat.in_force,
            failures: seat.failures.clone(),
        });
        Ok(found.collect())
    }

    /// Finds out what an earlier worker has left, which may have been in the middle of any part: what is
    /// pending is cancelled, and each order is read back at each of its devices. Those in force everywhere
    /// are done. Gives those that are in force at some devices only.
    async fn survey(&self, job: &Job<'_>, ledger: &mut Ledger<'_>) -> Result<Vec<Vec<usize>>, End> {
        let left = ledger.left();
        let asked = ledger.part(&left);
        let Ok(works) = asked.iter().map(|(_, work)| Work::new(work)).collect::<Result<Vec<Work>, _>>()
        else {
            return Ok(Vec::new());
        };
        job.progress.enter(Phase::Recover);
        let mut devices: Vec<Device<'_>> =
            asked.iter().zip(&works).map(|((_, asked), work)| Device::new(job, asked, work)).collect();
        let surveys = devices
            .iter_mut()
            .zip(&asked)
            .map(|(device, (_, work))| Box::pin(async { device.survey(work.edits.len()).await }));
        let answers = join_all(surveys).await;
        job.progress.set_doubt(false);
        let superseded = answers.iter().any(|answer| matches!(answer, Err(Answer::Superseded)));
        for ((place, _), device) in asked.iter().zip(&mut devices) {
            ledger.saw(*place, parts_of(device));
            if let Some(said) = device.take_transcript() {
                ledger.heard(*place, said);
            }
            if superseded { device.abandon() } else { device.finish() }
        }
        if superseded {
            return Err(End::Superseded);
        }
        Ok(ledger.surveyed(&left, &asked, answers))
    }
}

fn parts_of(device: &mut Device<'_>) -> Parts {
    Parts {
        notes: std::mem::take(&mut device.notes),
        steps: std::mem::take(&mut device.steps),
        guarantee: device.guarantee_reported(),
        audits: device.take_audits(),
        tokens_cancelled: device.tokens_cancelled,
        remarks: std::mem::take(&mut device.remarks),
    }
}

fn phase_of(job: &Job<'_>) -> &'static str {
    job.progress.state().phase.map_or("start", Phase::name)
}
