//! Devices whose commits don't go back by themselves: changed for good, read back, and where the answer is
//! lost, found out on a new session before anything else is decided.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use turnup_core::{
    failure::{Failure, FailureClass},
    message::Guarantee,
    transaction::Answer,
};
use turnup_netconf::{
    message::Reply,
    operation::{Datastore, Operation},
    ssh::RpcFailure,
    xml::Element,
};

use super::Device;
use crate::{
    classify::{self, Step},
    work::Direction,
};

impl Device<'_> {
    /// What puts the edit in force, once the device is locked and, where there is a candidate, the edit is
    /// in it. `None`: running is what is edited, and there is nothing to edit.
    pub(super) fn change(&self, direction: Direction, data: &Element) -> (Step, Option<Operation>) {
        if self.guarantee != Some(Guarantee::WritableRunning) {
            return (Step::Commit, Some(Operation::commit()));
        }
        let repair = self.judged.repair.as_ref();
        let can = self.capabilities().filter(|_| !self.work.changes_nothing(direction, repair));
        (Step::Edit, can.map(|can| self.work.edit((direction, repair), can, Datastore::Running, data)))
    }

    /// Has the edit of running tested, where the device can test without setting (`:validate:1.1`): so most
    /// refusals come before any device is changed. What else it answers is no refusal of the edit.
    pub(super) async fn test_edit(&mut self, data: &Element, by: Instant) -> Result<(), Vec<Failure>> {
        let repair = self.judged.repair.as_ref();
        let nothing = self.work.changes_nothing(Direction::Forward, repair);
        let Some(can) = self.capabilities().filter(|can| can.validate_1_1() && !nothing) else {
            return Ok(());
        };
        let test = self.work.test(repair, can, data);
        let replies = self.send(Step::Edit.name(), &[test], by).await;
        let replies = replies.map_err(|failure| vec![classify::of_silence(Step::Edit, &failure)])?;
        let refused = replies.iter().filter(|reply| reply.is_error());
        let failures: Vec<Failure> = refused
            .flat_map(|reply| classify::of_reply_by(&self.asked.profile.error_rules, Step::Edit, reply))
            .collect();
        if failures.iter().any(|f| matches!(f.class, FailureClass::Invalid | FailureClass::Distrusted)) {
            let unlocks = self.unlocks();
            self.let_go(&unlocks, by).await;
            return Err(failures);
        }
        Ok(())
    }

    /// Puts the edit in force for good and reads back. The locks are kept until all devices have it.
    pub(super) async fn commit_for_good(&mut self, had_new: bool) -> Answer {
        let snapshot = self.snapshot.clone().unwrap_or_else(|| Element::base("data"));
        let (step, change) = self.change(Direction::Forward, &snapshot);
        let is_change = change.is_some();
        let asks: Vec<Operation> = change.into_iter().chain([self.work.read()]).collect();
        let (changed, read) = match self.send(step.name(), &asks, self.job.forward_by).await {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                let changed = if is_change { replies.next().unwrap_or_default() } else { Reply::ok() };
                (changed, replies.next().unwrap_or_default())
            }
            Err(failure @ RpcFailure::NotSent { .. }) => {
                let failures = vec![classify::of_silence(step, &failure)];
                return Answer::Failed { failures, touched: false };
            }
            Err(failure) => {
                let failures = match super::phases::answered_first(&failure).filter(|_| is_change) {
                    Some(refused) if refused.is_error() => {
                        classify::of_reply_by(&self.asked.profile.error_rules, step, &refused)
                    }
                    _ => vec![classify::in_doubt(step, &failure)],
                };
                return self.find_out(step, failures, had_new).await;
            }
        };
        let refused = (!classify::is_accepted(step, &changed))
            .then(|| classify::of_reply_by(&self.asked.profile.error_rules, step, &changed));
        let Some(data) = read.data().filter(|_| !read.is_error()) else {
            let failures = refused.unwrap_or_else(|| {
                classify::of_reply_by(&self.asked.profile.error_rules, Step::Check, &read)
            });
            return self.find_out(step, failures, had_new).await;
        };
        match refused {
            // Where nothing is rolled back, a part may be in force.
            Some(failures) => Answer::Failed { failures, touched: !self.is_as_before(data, had_new) },
            None => match self.not_in_force(data) {
                None => {
                    self.note_change(data);
                    self.note_left(data);
                    Answer::Done
                }
                Some(difference) => {
                    let text = format!("the device answered ok, but reading back shows that {difference}");
                    let failures = vec![Failure::new(FailureClass::BrokenPeer, Step::Check.name(), text)];
                    Answer::Failed { failures, touched: true }
                }
            },
        }
    }

    /// On a new session: has it taken effect? `failures` say why that isn't known, or why it can't have.
    async fn find_out(&mut self, step: Step, failures: Vec<Failure>, had_new: bool) -> Answer {
        self.drop_session();
        self.job.progress.set_doubt(true);
        // What others hold provisionally has half of its time to be confirmed; after that it is undone here
        // like there.
        let by = self.job.forward_by.min(Instant::now() + self.job.half_of_timer());
        let nothing = |_: &Self| Vec::new();
        let seen = Mutex::new(None);
        let answer = self.until_known(step, nothing, by, |device, finding| {
            if !finding.settled {
                return None;
            }
            let difference = device.not_in_force(&finding.data);
            let is_old = device.is_as_before(&finding.data, had_new);
            if difference.is_none() && !device.may_hide_old(&finding.data) {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(finding.data.clone());
                return Some(Answer::Done);
            }
            // What looks as before may be the new secret all the same.
            let touched = device.work.is_unclear(&finding.data) || !is_old;
            Some(Answer::Failed { failures: failures.clone(), touched })
        });
        let answer = answer.await;
        if let Some(data) = seen.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.note_left(&data);
        }
        answer
    }

    /// Whether nothing but a secret was to change, and the device shows the same as before.
    fn may_hide_old(&self, data: &Element) -> bool {
        let is_same = |snapshot: &Element| self.work.same(data, snapshot);
        self.work.is_unclear(data) && self.snapshot.as_ref().is_none_or(is_same)
    }

    /// It is in force everywhere: what was held until now is let go of, and running saved where there is a
    /// startup datastore.
    pub(super) async fn conclude(&mut self) -> Answer {
        let by = self.job.total_by;
        if self.save_request().is_some() {
            self.save(by).await;
        } else if self.session.is_some() && !self.clean {
            let unlocks = self.unlocks();
            self.let_go(&unlocks, by).await;
        }
        Answer::Done
    }

    /// An earlier worker has left a part of the edit in running: it is taken back, so that there is a state
    /// to go back to. Returns what is there now.
    pub(super) async fn take_part_back(
        &mut self,
        data: Element,
        by: Instant,
    ) -> Result<Element, Vec<Failure>> {
        let (step, Some(change)) = self.change(Direction::Back, &data) else { return Ok(data) };
        let replies = self.send(step.name(), &[change, self.work.read()], by).await;
        let replies = replies.map_err(|failure| vec![classify::of_silence(step, &failure)])?;
        let mut replies = replies.into_iter();
        match (replies.next(), replies.next().and_then(Reply::into_data)) {
            (Some(changed), Some(data)) if classify::is_accepted(step, &changed) => Ok(data),
            // It stays a part; the way forward overwrites it, and going back is by what was planned.
            (_, now) => Ok(now.unwrap_or(data)),
        }
    }
}
