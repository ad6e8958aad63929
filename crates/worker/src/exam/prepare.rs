//! The beginning of an exam: what earlier work has left is taken back, a scratch is found, running is remembered.

use turnup_core::{
    exam::{Answer, Probe},
    failure::FailureClass,
};
use turnup_netconf::{
    message::Reply,
    operation::{Datastore, Operation},
};

use super::{
    Examiner, is_same,
    peer::{Halt, edit, said},
    place::{Place, is_marked},
};
use crate::{
    classify::{self, Step as Phase},
    crash,
};

impl Examiner<'_> {
    /// Cancels what is on record as pending, makes sure that the candidate is free, finds a scratch that the device
    /// accepts, and remembers running.
    pub(super) async fn prepare(&mut self, places: Vec<Place>) -> Result<(), Halt> {
        self.cancel_recorded().await?;
        let mut refused = Vec::new();
        for place in places {
            let name = place.name.clone();
            self.place = Some(place);
            match self.try_place().await? {
                None => {
                    crash::pass(crash::EXAM_PREPARED);
                    return self.remember_running().await;
                }
                Some(why) => refused.push(format!("{name}: {why}")),
            }
        }
        self.place = None;
        Err(Halt::not_tried(format!(
            "the device accepts no scratch ({}); write one for it and give it by --scratch",
            refused.join("; ")
        )))
    }

    /// Cancels commits that the lease names as pending, as a deployment does, and that of this exam: it may have begun
    /// before on another worker.
    async fn cancel_recorded(&mut self) -> Result<(), Halt> {
        if !self.can.confirmed_commit_1_1() {
            return Ok(());
        }
        let mut tokens = self.asked.pending_tokens.clone();
        tokens.push(self.token.clone());
        let cancels: Vec<Operation> =
            tokens.iter().map(|token| Operation::cancel_commit(Some(token))).collect();
        let replies = self.main().await?.all(&cancels).await?;
        let is_busy = |reply: &Reply| {
            let failures = classify::of_reply_by(&self.asked.profile.error_rules, Phase::Undo, reply);
            reply.is_error() && failures.iter().any(|failure| failure.class == FailureClass::Busy)
        };
        self.tokens_cancelled = !replies.iter().any(is_busy);
        Ok(())
    }

    /// Whether the device accepts the scratch; why not. What an earlier exam left is removed first.
    async fn try_place(&mut self) -> Result<Option<String>, Halt> {
        let place = self.place()?;
        let has_candidate = self.can.candidate();
        let validates = self.can.validate();
        let filter = place.filter();
        let peer = self.main().await?;
        let read = peer.ask(Operation::get_config(Datastore::Running, Some(&filter))).await?;
        if read.is_error() {
            return Ok(Some(said(&read)));
        }
        let found = read.data().and_then(|data| place.entry_of(data)).cloned();
        if let Some(entry) = &found
            && !is_marked(entry)
        {
            return Err(Halt::not_tried(format!(
                "{} is on the device and none of its values has the text turnup-exam, so it is someone's \
                 configuration: choose another scratch",
                place.path()
            )));
        }
        if has_candidate {
            self.free_candidate().await?;
        }
        if found.is_some() {
            if self.options.candidate_only {
                return Err(Halt::not_tried(format!(
                    "an earlier exam has left {} in running; an exam without --candidate-only removes it",
                    place.path()
                )));
            }
            self.is_running_used = true;
            self.restore().await.map_err(Halt::Unknown)?;
        }
        if !has_candidate {
            return Ok(None);
        }
        self.is_candidate_used = true;
        let peer = self.main().await?;
        let tried = peer.ask(edit(Datastore::Candidate, &place.create)).await?;
        let mut why = tried.is_error().then(|| said(&tried));
        if why.is_none() && validates {
            let valid = peer.ask(Operation::validate(Datastore::Candidate)).await?;
            why = valid.is_error().then(|| said(&valid));
        }
        peer.need(Operation::discard_changes()).await?;
        Ok(why)
    }

    /// Makes sure that no one else is at work in the candidate. Changes in it are only discarded if they are those of
    /// an earlier exam.
    async fn free_candidate(&mut self) -> Result<(), Halt> {
        let peer = self.main().await?;
        let locked = peer.ask(Operation::lock(Datastore::Candidate)).await?;
        if locked.has_ok() {
            let unlocked = peer.ask(Operation::unlock(Datastore::Candidate)).await?;
            return match unlocked.is_error() {
                true => Err(Halt::unknown(format!("unlock was refused: {}", said(&unlocked)))),
                false => Ok(()),
            };
        }
        if self.candidate_is_ours().await? {
            self.main().await?.need(Operation::discard_changes()).await?;
            return Ok(());
        }
        Err(Halt::unknown(format!(
            "the candidate can't be locked ({}): someone is at work on the device; try again later, or discard the \
             changes there",
            said(&locked)
        )))
    }

    /// Whether the candidate differs from running in nothing but the marked scratch.
    async fn candidate_is_ours(&mut self) -> Result<bool, Halt> {
        let place = self.place()?;
        let peer = self.main().await?;
        let candidate = peer.read(Datastore::Candidate, None).await?;
        let running = peer.read(Datastore::Running, None).await?;
        let is_ours = place.entry_of(&candidate).is_some_and(is_marked);
        Ok(is_ours && is_same(&place.without_entry(&candidate), &place.without_entry(&running)))
    }

    async fn remember_running(&mut self) -> Result<(), Halt> {
        let place = self.place()?;
        let peer = self.main().await?;
        match peer.read(Datastore::Running, None).await {
            Ok(data) => {
                let data = place.without_entry(&data);
                let nodes = u64::try_from(data.count().saturating_sub(1)).unwrap_or(u64::MAX);
                self.found(Probe::FilterNone, Answer::Number(nodes));
                self.before = Some(data);
            }
            Err(Halt::Silent(why)) => {
                self.main = None;
                self.found(Probe::FilterNone, Answer::Unknown(why));
            }
            Err(Halt::NotTried(why) | Halt::Unknown(why)) => {
                self.found(Probe::FilterNone, Answer::Unknown(why));
            }
        }
        Ok(())
    }
}
