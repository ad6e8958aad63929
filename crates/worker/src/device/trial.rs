//! Trying an edit out: locked, edited, validated, thrown away.

use tokio::time::Instant;
use turnup_core::failure::Failure;
use turnup_netconf::{
    operation::{Datastore, Operation},
    xml::Element,
};

use super::Device;
use crate::{
    classify::{self, Step},
    work::Direction,
};

impl Device<'_> {
    /// What the device objects to; nothing if it takes the edits. Nothing stays on the device: the edits
    /// are discarded, and where that isn't certain the session is closed, with which a device discards them
    /// (RFC 6241 §8.3.5.2).
    pub(crate) async fn try_edit(&mut self, by: Instant) -> Result<(), Vec<Failure>> {
        self.open(by, true).await.map_err(|failure| vec![failure])?;
        let data = self.lock(by).await?;
        let tried = match self.judge(&data) {
            Ok(()) => self.put_and_validate(&data, by).await,
            Err(failures) => Err(failures),
        };
        if self.session.is_some() && !self.clean {
            let give_back = self.give_back();
            self.let_go(&give_back, by).await;
        }
        if !self.clean {
            self.drop_session();
        }
        tried
    }

    async fn put_and_validate(&mut self, data: &Element, by: Instant) -> Result<(), Vec<Failure>> {
        self.put_edit(Direction::Forward, data, by).await?;
        // What the candidate holds is running.
        if self.only_reads() {
            return Ok(());
        }
        self.validate(by).await
    }

    /// Has the candidate validated, where the device can. On yuma a commit after this changes nothing; here
    /// none follows, so it does no harm there.
    async fn validate(&mut self, by: Instant) -> Result<(), Vec<Failure>> {
        if !self.capabilities().is_some_and(|can| can.validate()) {
            return Ok(());
        }
        let validate = [Operation::validate(Datastore::Candidate)];
        match self.send(Step::Validate.name(), &validate, by).await {
            Ok(replies) if replies.iter().all(|r| classify::is_accepted(Step::Validate, r)) => Ok(()),
            Ok(replies) => Err(replies
                .iter()
                .flat_map(|r| classify::of_reply_by(&self.asked.profile.error_rules, Step::Validate, r))
                .collect()),
            Err(failure) => Err(vec![classify::of_silence(Step::Validate, &failure)]),
        }
    }
}
