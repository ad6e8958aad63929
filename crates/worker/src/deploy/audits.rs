//! Audits: the devices are looked at, all at once, and nothing is changed.

use futures_util::future::{join, join_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turnup_core::{
    audit::DeviceAudit,
    failure::{Failure, FailureClass},
    message::{DeviceWork, Step},
    transcript::DeviceTranscript,
};

use super::{Outcome, Run};
use crate::{
    audit::{Plan, on_paper},
    device::{Device, Job, Needs, is_null},
    progress::Progress,
    report::{Ending, Seen},
    work::Work,
};

impl Run<'_> {
    /// Audits the deployment's devices. It is carried out whatever was found: a device that could not be
    /// looked at is part of the result.
    pub(super) async fn audit(
        &self,
        attempt: i32,
        sequence: i32,
        total_by: Instant,
        objections: Vec<(usize, Failure)>,
    ) -> Outcome {
        let devices = &self.deployment.devices;
        // That there are too many concerns all of them.
        let too_many = devices.len() > self.context.shared.settings.max_devices;
        let objection = |at: usize| {
            let own = |(index, _): &&(usize, Failure)| too_many || *index == at;
            objections.iter().find(own).map(|(_, failure)| failure.clone())
        };
        let progress = Progress::default();
        let job = self.job(attempt, total_by, &progress);
        let over = CancellationToken::new();
        let work = async {
            let looks =
                devices.iter().enumerate().map(|(at, asked)| Box::pin(look(&job, asked, objection(at))));
            let seen = join_all(looks).await;
            over.cancel();
            seen
        };
        let (seen, sequence) = join(work, self.tell(attempt, sequence, &progress, &over)).await;
        let (seen, said): (Vec<Seen>, Vec<_>) = seen.into_iter().unzip();
        let said = said.into_iter().flatten().collect();
        self.report(attempt, sequence, Ending::of_audit(self.deployment, seen), said)
    }
}

async fn look(
    job: &Job<'_>,
    asked: &DeviceWork,
    objection: Option<Failure>,
) -> (Seen, Option<DeviceTranscript>) {
    let plan = Plan::new(asked.audit.as_ref());
    let unusable = |failure: Failure| Seen {
        audit: plan.unreachable(&failure.message),
        notes: vec![failure],
        steps: Vec::new(),
    };
    if let Some(failure) = objection {
        return (unusable(failure), None);
    }
    if is_null(asked) {
        let audit = on_paper(asked.audit.as_ref());
        return (Seen { audit, notes: Vec::new(), steps: Vec::new() }, None);
    }
    let work = match Work::new(asked) {
        Ok(work) => work,
        Err(error) => {
            let failure = Failure::new(FailureClass::Misconfigured, "check", error.to_string());
            return (unusable(failure), None);
        }
    };
    let mut device = Device::new(job, asked, &work).needing(Needs::Reading);
    let audit: DeviceAudit = device.look(&plan).await;
    device.finish();
    let said = device.take_transcript();
    let (notes, steps): (Vec<Failure>, Vec<Step>) = (device.notes, device.steps);
    (Seen { audit, notes, steps }, said)
}
