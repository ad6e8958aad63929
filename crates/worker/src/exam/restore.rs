//! Cleaning up: after each step, and at the end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use turnup_netconf::{
    compare,
    model::NoModel,
    operation::{Datastore, Operation},
    xml::Element,
};

use super::{
    Examiner, is_same,
    peer::{Halt, edit, said},
};

/// Tries to clean up, and the pause between two. Locks of a lost session and timers need a moment.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(1_200);
/// How long cleaning up may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Most differences of running that are named.
const MAX_DIFFERENCES: usize = 3;

impl Examiner<'_> {
    /// Takes back what a step may have left: pending commits, edits of the candidate, locks, the scratch in running.
    ///
    /// # Errors
    /// What is left, in words.
    pub(super) async fn restore(&mut self) -> Result<(), String> {
        let by = self.by.min(Instant::now() + LIMIT);
        let mut last = "no time was left to clean up".to_owned();
        for turn in 0..TRIES {
            if turn > 0 {
                sleep(PAUSE).await;
                // A session that could not clean up may be the reason why.
                self.main = None;
            }
            match timeout_at(by, Box::pin(self.restore_once())).await {
                Ok(Ok(())) => {
                    self.must_restore = false;
                    return Ok(());
                }
                Ok(Err(Halt::NotTried(why) | Halt::Unknown(why) | Halt::Silent(why))) => last = why,
                Err(_) => break,
            }
        }
        let place = self.place.as_ref().map(super::Place::path).unwrap_or_default();
        Err(format!("it was not possible to make sure that nothing of the exam is left at {place}: {last}"))
    }

    async fn restore_once(&mut self) -> Result<(), Halt> {
        let (can_cancel, has_candidate) = (self.can.confirmed_commit_1_1(), self.can.candidate());
        if !has_candidate {
            return self.remove_from_running().await;
        }
        let (armed, token) = (self.is_armed && can_cancel, self.token.clone());
        let mut asks = vec![Operation::unlock(Datastore::Running)];
        if armed {
            // After the unlock: servers exist whose cancel does nothing under the lock.
            asks.push(Operation::cancel_commit(Some(&token)));
        }
        asks.extend([Operation::discard_changes(), Operation::unlock(Datastore::Candidate)]);
        let peer = self.main().await?;
        // Refusals are the usual answers to what is not needed.
        peer.all(&asks).await?;
        if self.is_running_used {
            self.remove_from_candidate().await?;
        }
        let peer = self.main().await?;
        let locked = peer.ask(Operation::lock(Datastore::Candidate)).await?;
        if locked.has_ok() {
            peer.need(Operation::unlock(Datastore::Candidate)).await?;
        } else if self.known(turnup_core::exam::Probe::LockCandidate) == Some(true) {
            return Err(Halt::unknown(format!("the candidate can't be locked: {}", said(&locked))));
        }
        self.is_armed = false;
        Ok(())
    }

    /// Removes the scratch from running by an edit of the candidate, if it is there.
    async fn remove_from_candidate(&mut self) -> Result<(), Halt> {
        let place = self.place()?;
        let operation = if self.can.base_1_1() { "remove" } else { "delete" };
        let mut peer = self.take_main().await?;
        if self.is_present(&mut peer).await? {
            peer.need(Operation::lock(Datastore::Candidate)).await?;
            peer.need(edit(Datastore::Candidate, &place.removal(operation))).await?;
            peer.need(Operation::commit()).await?;
            peer.need(Operation::unlock(Datastore::Candidate)).await?;
            if self.is_present(&mut peer).await? {
                return Err(Halt::unknown("the scratch was removed, and is still in running"));
            }
        }
        self.main = Some(peer);
        Ok(())
    }

    async fn remove_from_running(&mut self) -> Result<(), Halt> {
        let place = self.place()?;
        let operation = if self.can.base_1_1() { "remove" } else { "delete" };
        let uses_running = self.is_running_used;
        let mut peer = self.take_main().await?;
        peer.all(&[Operation::unlock(Datastore::Running)]).await?;
        if uses_running && self.is_present(&mut peer).await? {
            peer.need(edit(Datastore::Running, &place.removal(operation))).await?;
            if self.is_present(&mut peer).await? {
                return Err(Halt::unknown("the scratch was removed, and is still in running"));
            }
        }
        self.main = Some(peer);
        Ok(())
    }

    /// The end of an exam: whether everything is as it was before. What is not is noted.
    pub(super) async fn finish(&mut self) -> bool {
        if self.must_restore
            && let Err(why) = self.restore().await
        {
            if !self.left.contains(&why) {
                self.left.push(why);
            }
            return false;
        }
        let by = self.by;
        match timeout_at(by, Box::pin(self.compare_running())).await {
            Ok(Ok(())) => {}
            Ok(Err(Halt::NotTried(why) | Halt::Unknown(why) | Halt::Silent(why))) => {
                self.left.push(format!("running could not be compared with what it was: {why}"));
            }
            Err(_) => {
                self.left.push("running could not be compared with what it was: no time was left".to_owned())
            }
        }
        self.left.is_empty()
    }

    /// Compares running with what it was before the exam; one that has been emptied is given back.
    async fn compare_running(&mut self) -> Result<(), Halt> {
        let place = self.place()?;
        let Some(before) = self.before.clone() else { return Ok(()) };
        let now = self.main().await?.read(Datastore::Running, None).await?;
        let now = place.without_entry(&now);
        if is_same(&before, &now) {
            return Ok(());
        }
        self.left.push(format!(
            "running differs from what it was before the exam: {}",
            differences(&before, &now)
        ));
        if now.is_empty() && self.is_running_used && self.can.candidate() {
            self.give_back(&before).await?;
            let now = self.main().await?.read(Datastore::Running, None).await?;
            let outcome = match is_same(&before, &place.without_entry(&now)) {
                true => "what it had before was put back, and running is as it was",
                false => "what it had before was put back, and running still differs",
            };
            self.left.push(format!("running had been emptied by the device: {outcome}"));
        }
        Ok(())
    }

    /// Puts the copy of running back, by merging: nothing is lost that someone has configured meanwhile.
    pub(super) async fn give_back(&mut self, before: &Element) -> Result<(), Halt> {
        let content: Vec<Element> = before.children().cloned().collect();
        let peer = self.main().await?;
        peer.need(Operation::lock(Datastore::Candidate)).await?;
        peer.need(edit(Datastore::Candidate, &content)).await?;
        peer.need(Operation::commit()).await?;
        peer.need(Operation::unlock(Datastore::Candidate)).await?;
        Ok(())
    }
}

fn differences(before: &Element, now: &Element) -> String {
    let lost = compare::differences(now, before, &NoModel, MAX_DIFFERENCES);
    let new = compare::differences(before, now, &NoModel, MAX_DIFFERENCES);
    let named: Vec<String> =
        lost.iter().chain(&new).take(MAX_DIFFERENCES).map(|difference| difference.path.clone()).collect();
    named.join(", ")
}
