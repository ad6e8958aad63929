//! Functional checks before a change is confirmed: polled until all pass or their time is over.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use turnup_core::{
    audit::CheckResult,
    failure::{Detail, Failure, FailureClass},
    transaction::{Answer, FUNCTIONAL_CHECK},
};

use super::{Device, look::refusal};
use crate::{
    audit::{Plan, Question},
    retry::Retry,
};

/// Pause between two polls at least: there are servers whose rollback timer does not fire while requests arrive less
/// than a second apart.
const LEAST_PAUSE: Duration = Duration::from_millis(1_100);

impl Device<'_> {
    /// Polls the checks: [`Answer::Done`] once all pass in one poll, else what the last poll found. Costs one request
    /// per check and poll.
    pub(super) async fn verify(&mut self) -> Answer {
        let Some(asked) = &self.asked.before_confirm else { return Answer::Done };
        let questions: Vec<Question> = Plan::questions(&asked.checks);
        let (settle, within) =
            (Duration::from_millis(asked.settle_ms), Duration::from_millis(asked.within_ms));
        let by = (Instant::now() + settle + within).min(self.job.forward_by);
        sleep(settle.min(by.saturating_duration_since(Instant::now()))).await;
        let mut retry = Retry::new(Duration::from_millis(1_200), Duration::from_secs(3));
        loop {
            let mut results = Vec::with_capacity(questions.len());
            for question in &questions {
                results.push(self.ask_once(question).await);
            }
            if results.iter().all(|result| result.passed) {
                self.note_passed(results);
                return Answer::Done;
            }
            let left = by.saturating_duration_since(Instant::now());
            if left < LEAST_PAUSE {
                let failures = results.into_iter().filter(|result| !result.passed);
                let failures = failures.map(|result| failure(result, settle + within)).collect();
                return Answer::Failed { failures, touched: true };
            }
            // The last poll is at the end of the time.
            sleep(retry.next().clamp(LEAST_PAUSE, left)).await;
        }
    }

    async fn ask_once(&mut self, question: &Question) -> CheckResult {
        let test = match &question.test {
            Ok(test) => test,
            Err(reason) => return question.failed(reason),
        };
        let by = self.job.total_by;
        match self.inquire_once(FUNCTIONAL_CHECK, &|_| test.ask.clone(), by).await {
            Ok(Some(reply)) => match refusal(&reply) {
                Some(refused) => {
                    question.failed(&format!("the device refuses to answer: {}", refused.message))
                }
                None => self.work.secrets().clean_check(test.judge(&question.name, &reply)),
            },
            Ok(None) => question.failed("the session was lost"),
            Err(unanswered) => question.failed(&unanswered.failure.message),
        }
    }
}

fn failure(result: CheckResult, after: Duration) -> Failure {
    let text = format!(
        "functional check {:?} did not pass within {} s, so the change was not confirmed: {}",
        result.name,
        after.as_secs(),
        result.evidence
    );
    let mut failure =
        Failure::new(FailureClass::NotWorking, FUNCTIONAL_CHECK, crate::classify::shorten(&text));
    failure.details = vec![Detail { title: result.name, text: result.evidence }];
    failure
}
