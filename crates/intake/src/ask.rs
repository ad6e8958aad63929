//! Questions about devices, which the workers of their region answer. An answer may be late or lost: who
//! asks has a deadline.

use std::time::Duration;

use turnup_broker::{Broker, Outgoing, PublishError, RequestError, Requester};
use turnup_core::{
    ask::{Answer, Ask, Question},
    exam::Exam,
    message::{Body as _, DeviceEdit, DeviceWork},
    name::RegionName,
    profile::Profile,
};
use turnup_store::Device;

/// Left of the deadline for the way there and back.
const MARGIN: Duration = Duration::from_secs(1);
/// An exam that no worker takes within this time is dropped.
const EXAM_TAKEN_WITHIN: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The region has no queue.
    #[error(
        "no worker is configured for region {0}; add it to 'regions', run 'turnup migrate' and start a worker for it"
    )]
    NoQueue(RegionName),
    /// Nobody answered.
    #[error("no worker of region {region} answered within {} s; 'turnup fleet' shows which regions have workers; try again", after.as_secs())]
    Late {
        /// The device's region.
        region: RegionName,
        /// How long it was waited for.
        after: Duration,
    },
    /// The broker is away.
    #[error("the broker can't be reached ({0}); try again")]
    Away(String),
    /// The question or its answer can't be written or read.
    #[error("{0}")]
    Unreadable(String),
}

/// Asks workers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    requester: Requester,
    exchange: String,
}

impl Asker {
    pub(crate) fn new(broker: &Broker) -> Self {
        Self { requester: broker.requester(), exchange: broker.names().ask() }
    }

    /// Asks about `device`, and waits at most for `within`.
    pub(crate) async fn ask(
        &self,
        region: &RegionName,
        device: DeviceWork,
        question: Question,
        within: Duration,
    ) -> Result<Answer, Unanswered> {
        let of_worker = within.checked_sub(MARGIN).unwrap_or(within / 2);
        let timeout_ms = u64::try_from(of_worker.as_millis()).unwrap_or(u64::MAX);
        let ask = Ask { device, question, timeout_ms };
        let body = ask.encode().map_err(|error| Unanswered::Unreadable(error.to_string()))?;
        self.send(region, Outgoing::new(self.exchange.as_str(), region.as_str(), body), within).await
    }

    /// Has `device` examined, and waits at most for `within`. The exam's own time is that of its options.
    pub(crate) async fn examine(
        &self,
        region: &RegionName,
        device: DeviceWork,
        exam: Exam,
        within: Duration,
    ) -> Result<Answer, Unanswered> {
        let timeout_ms = u64::from(exam.options.time_s) * 1_000;
        let ask = Ask { device, question: Question::Exam(Box::new(exam)), timeout_ms };
        let body = ask.encode().map_err(|error| Unanswered::Unreadable(error.to_string()))?;
        let question = Outgoing::new(self.exchange.as_str(), region.as_str(), body);
        self.send(region, question.with_expiration(EXAM_TAKEN_WITHIN), within).await
    }

    async fn send(
        &self,
        region: &RegionName,
        question: Outgoing,
        within: Duration,
    ) -> Result<Answer, Unanswered> {
        let reply = self.requester.request(question, within).await.map_err(|error| match error {
            RequestError::Timeout { after } => Unanswered::Late { region: region.clone(), after },
            RequestError::Publish(PublishError::Returned { .. }) => Unanswered::NoQueue(region.clone()),
            other => Unanswered::Away(other.to_string()),
        })?;
        Answer::decode(&reply.body).map_err(|error| Unanswered::Unreadable(error.to_string()))
    }
}

/// Where a device is, for a worker; `edit`: what to try there.
pub(crate) fn work(device: &Device, profile: Profile, edit: Option<DeviceEdit>) -> DeviceWork {
    DeviceWork {
        device: device.name.clone(),
        address: device.address.clone(),
        port: device.port,
        platform: device.platform.clone(),
        host_key: device.host_key.clone(),
        profile,
        credential: device.credential.clone(),
        // Nothing is committed, so what is pending is left to a deployment.
        pending_tokens: Vec::new(),
        // No lease is taken: nothing is changed.
        epoch: 0,
        edits: edit.into_iter().collect(),
        before_confirm: None,
        inside: turnup_core::nodes::NodeFacts::default(),
        audit: None,
    }
}
