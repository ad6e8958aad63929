//! Drift at a device: judged under the lock before the edit, and what is left of it seen after the commit.

use std::fmt::Write as _;

use tokio::time::Instant;
use turnup_core::{
    audit::{CheckResult, ConfigAudit, DeviceAudit},
    drift::OnDrift,
    failure::{Detail, Failure, FailureClass},
    message::{InForce, Stage},
    profile::ListMoves,
    transaction::Answer,
};
use turnup_netconf::{message::Reply, xml::Element};

use super::Device;
use crate::{
    classify::{self, Step, shorten},
    whole::{Audits, Drift},
};

/// The phase of an order that is refused for drift.
const DRIFT: &str = "drift";

/// What a device knows of drift.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// What was found before the edit.
    drift: Vec<Drift>,
    /// What is done about it besides the edit.
    pub(super) repair: Option<crate::work::Repair>,
    /// What an audit would say of services whose drift is left.
    left: Audits,
    /// Functional checks that passed before the confirm.
    passed: Vec<CheckResult>,
}

impl Device<'_> {
    /// Whether nothing is changed at this device, as far as this worker knows.
    pub(super) fn only_reads(&self) -> bool {
        self.work.only_reads() && self.judged.repair.is_none()
    }

    /// Looks for drift in what was read under the lock, and decides what is done about it.
    ///
    /// # Errors
    /// Why an order can't go on here.
    pub(super) fn judge(&mut self, data: &Element) -> Result<(), Vec<Failure>> {
        let drift = self.work.drift(data);
        let refused: Vec<Failure> =
            drift.iter().filter(|drift| drift.on_drift == OnDrift::Refuse).map(refusal).collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        let proceeds = drift.iter().any(|drift| drift.on_drift == OnDrift::Proceed);
        self.repair(drift, data)?;
        match self.work.deactivated(self.judged.repair.as_ref(), data).filter(|_| !proceeds) {
            Some((path, mark)) => Err(vec![deactivated(&path, &mark)]),
            None => Ok(()),
        }
    }

    /// Looks for drift that is repaired along. What another worker had repaired may have gone back with the rest.
    ///
    /// # Errors
    /// If the repair can't be read.
    pub(super) fn judge_again(&mut self, data: &Element) -> Result<(), Vec<Failure>> {
        let mut drift = self.work.drift(data);
        drift.retain(|drift| drift.on_drift == OnDrift::Repair);
        self.repair(drift, data)
    }

    fn repair(&mut self, drift: Vec<Drift>, data: &Element) -> Result<(), Vec<Failure>> {
        let mut repaired: Vec<usize> =
            drift.iter().filter(|drift| drift.on_drift == OnDrift::Repair).map(|drift| drift.place).collect();
        if self.asked.profile.list_moves == ListMoves::Recreate && self.has_candidate() {
            repaired.extend(
                self.work.moving().into_iter().filter(|place| !repaired.contains(place)).collect::<Vec<_>>(),
            );
        }
        self.judged.repair = None;
        if !repaired.is_empty() {
            let repair = self.work.repair(self.asked, &repaired, data).map_err(|error| {
                vec![Failure::new(FailureClass::Misconfigured, DRIFT, shorten(&error.to_string()))]
            })?;
            self.judged.repair = Some(repair);
        }
        for drift in &drift {
            let done = match drift.on_drift {
                OnDrift::Repair => "repaired along",
                OnDrift::Proceed => "left where the order does not change it",
                OnDrift::Refuse => continue,
            };
            self.remark(format!("drift of the service of order {}, {done}: {}", drift.order, summary(drift)));
        }
        self.judged.drift = drift;
        Ok(())
    }

    /// Why not all that is to be in force is in the data; none if it is.
    pub(super) fn not_in_force(&self, data: &Element) -> Option<String> {
        self.work.not_in_force(data, &self.judged.drift).map(|difference| shorten(&difference))
    }

    /// Notes what is left of drift, by what the device has when the edit is in force.
    pub(super) fn note_left(&mut self, data: &Element) {
        self.judged.left = self.work.left(data);
    }

    /// Notes the functional checks that passed, where they say that the service works.
    pub(super) fn note_passed(&mut self, results: Vec<CheckResult>) {
        if self.asked.before_confirm.as_ref().is_some_and(|asked| asked.of_all_devices) {
            self.judged.passed = results;
        }
    }

    /// What was found of the orders' services on the way.
    pub(crate) fn take_audits(&mut self) -> Audits {
        let mut audits: Audits = std::mem::take(&mut self.judged.left);
        let passed = std::mem::take(&mut self.judged.passed);
        // Orders with functional checks are deployed one by one.
        if let (false, Some(edit)) = (passed.is_empty(), self.asked.edits.first()) {
            let audit = audits.entry(edit.order).or_insert_with(|| DeviceAudit {
                config: ConfigAudit::NotAudited,
                differences: Vec::new(),
                differences_in_all: 0,
                checks: Vec::new(),
            });
            audit.checks = passed;
        }
        audits
    }

    /// Instead of a commit, where nothing is changed: reads once more.
    pub(super) async fn read_again(&mut self, by: Instant) -> Answer {
        let failed = |failures| Answer::Failed { failures, touched: false };
        let replies = match self.send(Step::Check.name(), &[self.work.read()], by).await {
            Ok(replies) => replies,
            Err(failure) => return failed(vec![classify::of_silence(Step::Check, &failure)]),
        };
        let read: Reply = replies.into_iter().next().unwrap_or_default();
        let data = match classify::required_data(Step::Check, read, &self.asked.profile.error_rules) {
            Ok(data) => data,
            Err(failures) => return failed(failures),
        };
        if let Some(difference) = self.not_in_force(&data) {
            let text = format!("the service has changed while the device was locked: {difference}");
            return failed(vec![Failure::new(FailureClass::BrokenPeer, Step::Check.name(), text)]);
        }
        self.note_left(&data);
        Answer::Done
    }

    /// What an earlier worker may have left where nothing is to be changed: nothing. So it counts as in force for a
    /// redelivery, which ends there if it is in force everywhere else.
    pub(super) fn found_unchanged(&self) -> InForce {
        match self.job.past_unknown || self.job.stage == Stage::Undo {
            true => InForce::Old,
            false => InForce::New,
        }
    }
}

/// The first differences and how many there are, in one line.
fn summary(drift: &Drift) -> String {
    let first: Vec<String> = drift.told().take(3).map(|difference| difference.to_string()).collect();
    let more = drift.found.len() - first.len().min(drift.found.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shorten(&format!("{}{more}", first.join("; ")))
}

fn deactivated(path: &str, mark: &str) -> Failure {
    let text = format!(
        "{path} is deactivated on the device ({mark}), so the change would not be in force there, and the order was not \
         begun: activate it there"
    );
    let mut failure = Failure::new(FailureClass::Invalid, DRIFT, shorten(&text));
    failure.path = Some(shorten(path));
    failure
}

fn refusal(drift: &Drift) -> Failure {
    let text = format!(
        "the service has been changed here past turnup, so the order was not begun: {}; 'turnup service audit' shows \
         all of it, 'turnup service redeploy' puts the service back, and 'drift' in the definition says what orders do \
         about it",
        summary(drift)
    );
    let mut failure = Failure::new(FailureClass::Invalid, DRIFT, text);
    failure.path = drift.told().next().map(|difference| shorten(&difference.path));
    let mut lines = String::new();
    for difference in drift.told() {
        let _ = writeln!(lines, "{difference}");
    }
    let more = drift.found.len().saturating_sub(turnup_core::drift::MAX_REPORTED);
    if more > 0 {
        let _ = writeln!(lines, "and {more} more");
    }
    failure.details = vec![Detail { title: "drift".to_owned(), text: lines }];
    failure
}
