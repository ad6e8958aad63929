//! Looking at a device without changing anything: no lock, no edit.

use std::time::Duration;

use tokio::time::Instant;
use turnup_core::{
    audit::{CheckResult, ConfigAudit, DeviceAudit, Difference},
    failure::{Failure, FailureClass},
};
use turnup_netconf::{
    capability::Capabilities,
    message::{DataError, Reply},
    operation::Operation,
};

use super::{Device, phases::answers_missing};
use crate::{
    audit::{Config, Plan, Question},
    classify::{self, Step},
    retry::Retry,
};

/// Why a question has no answer.
pub(crate) struct Unanswered {
    pub(crate) failure: Failure,
    /// There is no connection to be had, so there is no use in asking something else.
    pub(crate) unreachable: bool,
}

impl Device<'_> {
    /// Carries out an audit. Why something could not be looked at is in the result, and in the notes.
    pub(crate) async fn look(&mut self, plan: &Plan) -> DeviceAudit {
        let mut unreachable: Option<String> = None;
        let (config, differences, differences_in_all) = match &plan.config {
            None => (ConfigAudit::NotAudited, Vec::new(), 0),
            Some(config) => match self.look_at_config(config).await {
                Ok((_, 0)) => (ConfigAudit::InSync, Vec::new(), 0),
                Ok((differences, in_all)) => (ConfigAudit::Drifted, differences, in_all),
                Err(unanswered) => {
                    unreachable = self.note(unanswered);
                    (ConfigAudit::Unreachable, Vec::new(), 0)
                }
            },
        };
        let mut checks = Vec::with_capacity(plan.checks.len());
        for check in &plan.checks {
            let result = match &unreachable {
                Some(reason) => check.failed(reason),
                None => match self.try_out(check).await {
                    Ok(result) => result,
                    Err(unanswered) => {
                        let result = check.failed(&unanswered.failure.message);
                        unreachable = self.note(unanswered);
                        result
                    }
                },
            };
            checks.push(result);
        }
        DeviceAudit { config, differences, differences_in_all, checks }
    }

    /// Notes why there was no answer. Returns the reason if none can be had to anything else either.
    fn note(&mut self, unanswered: Unanswered) -> Option<String> {
        let Unanswered { failure, unreachable } = unanswered;
        let reason = unreachable.then(|| failure.message.clone());
        self.notes.push(failure);
        reason
    }

    async fn look_at_config(
        &mut self,
        config: &Result<Config, String>,
    ) -> Result<(Vec<Difference>, usize), Unanswered> {
        let config = config.as_ref().map_err(|reason| Unanswered {
            failure: Failure::new(FailureClass::Misconfigured, Step::Check.name(), reason.as_str()),
            unreachable: false,
        })?;
        let chosen = self.work.with_defaults;
        let reply = self.inquire("get-config", true, |can| config.read(can, chosen)).await?;
        let rules = &self.asked.profile.error_rules;
        let data = classify::required_data(Step::Check, reply, rules).map_err(|failures| Unanswered {
            failure: failures.into_iter().next().unwrap_or_else(|| answers_missing(Step::Check)),
            unreachable: false,
        })?;
        Ok(config.compare(&data))
    }

    async fn try_out(&mut self, check: &Question) -> Result<CheckResult, Unanswered> {
        let test = match &check.test {
            Ok(test) => test,
            Err(reason) => return Ok(check.failed(reason)),
        };
        let reply = self.inquire(test.ask.name(), test.repeatable, |_| test.ask.clone()).await?;
        let secrets = self.work.secrets();
        Ok(match refusal(&reply) {
            Some(failure) => check.failed(&format!("the device refuses to answer: {}", failure.message)),
            None if ["get", "get-config"].contains(&test.ask.name()) && reply.data().is_none() => {
                check.failed(&DataError::Missing.to_string())
            }
            None => secrets.clean_check(test.judge(&check.name, &reply)),
        })
    }

    /// Asks one thing, opening sessions and trying again as the limits say. An error is an answer, unless it
    /// says that the device is busy and trying again helps.
    pub(crate) async fn inquire(
        &mut self,
        step: &str,
        repeatable: bool,
        ask: impl Fn(&Capabilities) -> Operation,
    ) -> Result<Reply, Unanswered> {
        let by = self.job.total_by;
        let mut retry = Retry::new(Duration::from_millis(250), Duration::from_secs(5));
        let mut tries = 1;
        loop {
            let last = tries >= self.job.limits.tries;
            let unanswered = match self.inquire_once(step, &ask, by).await {
                Ok(Some(reply)) => match refusal(&reply) {
                    Some(failure) if failure.class.worth_retrying() && repeatable && !last => {
                        Unanswered { failure, unreachable: false }
                    }
                    _ => return Ok(reply),
                },
                // A warm session had died meanwhile, which is no try.
                Ok(None) => continue,
                Err(unanswered) => unanswered,
            };
            let again = unanswered.failure.class.worth_retrying() && (repeatable || unanswered.unreachable);
            if last || !again || !self.pause(&mut retry, by).await {
                return Err(unanswered);
            }
            tries += 1;
        }
    }

    /// None: the session was a warm one that is dead.
    pub(super) async fn inquire_once(
        &mut self,
        step: &str,
        ask: &impl Fn(&Capabilities) -> Operation,
        by: Instant,
    ) -> Result<Option<Reply>, Unanswered> {
        if self.session.is_none() {
            let opened = self.open(by, true).await;
            opened.map_err(|failure| Unanswered { failure, unreachable: true })?;
        }
        // An answer may take long, and not everything can be asked twice.
        if self.untried && !self.probe(by).await {
            return Ok(None);
        }
        let Some(operation) = self.capabilities().map(ask) else { return Ok(None) };
        match self.send(step, &[operation], by).await {
            Ok(replies) => match replies.into_iter().next() {
                Some(reply) => Ok(Some(reply)),
                None => Ok(Some(Reply::default())),
            },
            Err(failure) => {
                let failure = classify::of_silence(Step::Check, &failure);
                Err(Unanswered { failure: Failure { phase: step.to_owned(), ..failure }, unreachable: false })
            }
        }
    }
}

/// The first error of an answer.
pub(super) fn refusal(reply: &Reply) -> Option<Failure> {
    let errors = reply.is_error().then(|| classify::of_reply(Step::Check, reply));
    errors.and_then(|errors| errors.into_iter().next())
}
