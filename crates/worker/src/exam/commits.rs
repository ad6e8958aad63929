//! Probes of commits. All but empty ones are confirmed commits of the scratch, made under the lock of the candidate.

use tokio::time::Instant;
use turnup_core::exam::{Answer, Probe};
use turnup_netconf::{
    operation::{Datastore, Operation, TestOption},
    xml::Element,
};

use super::{
    Examiner,
    peer::{Halt, Peer, confirmed, edit, edit_with, said},
};
use crate::{classify::Step as Phase, crash};

const CANDIDATE: Datastore = Datastore::Candidate;
const RUNNING: Datastore = Datastore::Running;

/// Confirm timer of commits that a probe takes back itself, in seconds.
pub(super) const LONG_S: u32 = 30;
/// A token that no commit has.
pub(super) const WRONG_TOKEN: &str = "turnup-exam-wrong";

impl Examiner<'_> {
    /// A confirm timer as the device counts it: at least `seconds`.
    pub(super) fn timer_s(&self, seconds: u32) -> u32 {
        let unit = u32::try_from(self.unit.as_secs()).unwrap_or(u32::MAX).max(1);
        seconds.div_ceil(unit).saturating_mul(unit)
    }

    /// The token, where the device knows tokens.
    pub(super) fn persist(&self) -> Option<String> {
        self.can.confirmed_commit_1_1().then(|| self.token.clone())
    }

    /// Puts content into the candidate under its lock. Without the lock, a commit could publish edits of others.
    pub(super) async fn stage(&self, peer: &mut Peer, content: &[Element]) -> Result<(), Halt> {
        let locked = peer.ask(Operation::lock(CANDIDATE)).await?;
        if !locked.has_ok() {
            return Err(Halt::unknown(format!("the candidate can't be locked: {}", said(&locked))));
        }
        peer.need(edit(CANDIDATE, content)).await?;
        Ok(())
    }

    /// Commits what is staged, to be confirmed within `seconds`; gives when that was sent.
    pub(super) async fn commit_staged(
        &mut self,
        peer: &mut Peer,
        seconds: u32,
        persist: Option<&str>,
    ) -> Result<Instant, Halt> {
        (self.is_armed, self.is_running_used) = (true, true);
        let began = Instant::now();
        peer.need(confirmed(seconds, persist, None)).await?;
        self.commit_times.push(began.elapsed());
        crash::pass(crash::EXAM_COMMITTED);
        Ok(began)
    }

    /// Puts the scratch in force, to be confirmed within `seconds`. The candidate stays locked.
    pub(super) async fn provisional(
        &mut self,
        peer: &mut Peer,
        seconds: u32,
        persist: Option<&str>,
    ) -> Result<Instant, Halt> {
        let place = self.place()?;
        self.stage(peer, &place.create).await?;
        self.commit_staged(peer, seconds, persist).await
    }
}

/// A commit without changes, and one of another session while running is locked.
pub(super) async fn empty(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let mut peer = examiner.take_main().await?;
    // Under the lock nothing of anyone else's can be in the candidate.
    let locked = peer.ask(Operation::lock(CANDIDATE)).await?;
    if !locked.has_ok() {
        return Err(Halt::not_tried(format!("the candidate can't be locked: {}", said(&locked))));
    }
    let began = Instant::now();
    let committed = peer.ask(Operation::commit()).await?;
    let took = began.elapsed();
    examiner.accepted(Probe::EmptyCommit, &committed);
    if !committed.is_error() {
        examiner.commit_times.push(took);
    }
    peer.ask(Operation::unlock(CANDIDATE)).await?;
    if examiner.known(Probe::LockRunning) == Some(true) {
        peer.need(Operation::lock(RUNNING)).await?;
        let mut other = examiner.open().await?;
        // It publishes nothing: the candidate was free a moment ago, and running is locked.
        let reply = other.ask(Operation::commit()).await?;
        examiner.refused(Probe::LockStopsCommit, Phase::Commit, &reply);
        other.close().await;
        peer.ask(Operation::unlock(RUNNING)).await?;
    } else {
        let why = "running can't be locked".to_owned();
        examiner.found(Probe::LockStopsCommit, Answer::NotTried(why));
    }
    examiner.main = Some(peer);
    Ok(())
}

/// What can be locked while a commit is pending, and how it is cancelled.
pub(super) async fn pending(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let token = examiner.token.clone();
    let seconds = examiner.timer_s(LONG_S);
    let mut peer = examiner.take_main().await?;
    examiner.provisional(&mut peer, seconds, Some(&token)).await?;
    let own = peer.ask(Operation::lock(RUNNING)).await?;
    examiner.accepted(Probe::PendingLockOwn, &own);
    if own.has_ok() {
        peer.ask(Operation::unlock(RUNNING)).await?;
    }
    let mut other = examiner.open().await?;
    let denied = other.ask(Operation::lock(RUNNING)).await?;
    if examiner.known(Probe::LockRunning) == Some(true) {
        examiner.refused(Probe::PendingLockOther, Phase::Lock, &denied);
    } else {
        let why = "running can't be locked".to_owned();
        examiner.found(Probe::PendingLockOther, Answer::NotTried(why));
    }
    if denied.has_ok() {
        other.ask(Operation::unlock(RUNNING)).await?;
    }
    other.close().await;
    peer.ask(Operation::unlock(CANDIDATE)).await?;
    let again = peer.ask(Operation::lock(CANDIDATE)).await?;
    examiner.accepted(Probe::PendingLockCandidate, &again);
    if again.has_ok() {
        peer.ask(Operation::unlock(CANDIDATE)).await?;
    }
    let wrong = peer.ask(Operation::cancel_commit(Some(WRONG_TOKEN))).await?;
    examiner.refused(Probe::CancelWrong, Phase::Undo, &wrong);
    let cancelled = peer.ask(Operation::cancel_commit(Some(&token))).await?;
    let stays = examiner.is_present(&mut peer).await?;
    match cancelled.is_error() && wrong.is_error() {
        true => examiner.found_with(Probe::CancelUnlocked, Answer::No, said(&cancelled)),
        false => examiner.says(Probe::CancelUnlocked, !stays),
    }
    candidate_after(examiner, &mut peer, Probe::CandidateAfterCancel, stays).await?;
    examiner.main = Some(peer);
    Ok(())
}

/// Whether the candidate still has what was taken back from running, and its lock is granted all the same.
pub(super) async fn candidate_after(
    examiner: &mut Examiner<'_>,
    peer: &mut Peer,
    probe: Probe,
    stays: bool,
) -> Result<(), Halt> {
    if stays {
        let why = "the change was not taken back".to_owned();
        examiner.found(probe, Answer::Unknown(why));
        return Ok(());
    }
    if !examiner.has_entry(peer, CANDIDATE).await? {
        examiner.found(probe, Answer::Yes);
        return Ok(());
    }
    let locked = peer.ask(Operation::lock(CANDIDATE)).await?;
    if locked.has_ok() {
        peer.all(&[Operation::discard_changes(), Operation::unlock(CANDIDATE)]).await?;
        examiner.found_with(probe, Answer::No, "it keeps the change, and its lock is granted");
    } else {
        peer.ask(Operation::discard_changes()).await?;
        examiner.found_with(probe, Answer::Yes, "it keeps the change, but its lock is denied");
    }
    Ok(())
}

/// Cancel and confirm with nothing pending. The candidate is as running, so nothing can be published.
pub(super) async fn nothing_pending(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let token = examiner.token.clone();
    let mut peer = examiner.take_main().await?;
    let locked = peer.ask(Operation::lock(CANDIDATE)).await?;
    if !locked.has_ok() {
        return Err(Halt::not_tried(format!("the candidate can't be locked: {}", said(&locked))));
    }
    let cancelled = peer.ask(Operation::cancel_commit(Some(&token))).await?;
    let confirmed = peer.ask(Operation::commit_confirming(&token)).await?;
    peer.ask(Operation::unlock(CANDIDATE)).await?;
    examiner.refused(Probe::CancelNothing, Phase::Undo, &cancelled);
    examiner.refused(Probe::ConfirmNothing, Phase::Confirm, &confirmed);
    examiner.main = Some(peer);
    Ok(())
}

/// `cancel-commit` while the session holds the lock of running.
pub(super) async fn cancel_locked(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    if examiner.known(Probe::LockBoth) != Some(true) {
        return Err(Halt::not_tried("running and candidate can't be locked together"));
    }
    let token = examiner.token.clone();
    let seconds = examiner.timer_s(LONG_S);
    let mut peer = examiner.take_main().await?;
    peer.need(Operation::lock(RUNNING)).await?;
    examiner.provisional(&mut peer, seconds, Some(&token)).await?;
    let cancelled = peer.ask(Operation::cancel_commit(Some(&token))).await?;
    let stays = examiner.is_present(&mut peer).await?;
    match cancelled.is_error() {
        true => examiner.found_with(Probe::CancelLocked, Answer::No, said(&cancelled)),
        false if stays => {
            examiner.found_with(Probe::CancelLocked, Answer::No, "answered ok, and the change stays")
        }
        false => examiner.found(Probe::CancelLocked, Answer::Yes),
    }
    examiner.main = Some(peer);
    Ok(())
}

/// `cancel-commit` by another session.
pub(super) async fn cancel_other(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let token = examiner.token.clone();
    let seconds = examiner.timer_s(LONG_S);
    let mut peer = examiner.take_main().await?;
    examiner.provisional(&mut peer, seconds, Some(&token)).await?;
    peer.ask(Operation::unlock(CANDIDATE)).await?;
    let mut other = examiner.open().await?;
    let cancelled = other.ask(Operation::cancel_commit(Some(&token))).await?;
    let stays = examiner.is_present(&mut other).await?;
    match cancelled.is_error() {
        true => examiner.found_with(Probe::CancelOther, Answer::No, said(&cancelled)),
        false => examiner.says(Probe::CancelOther, !stays),
    }
    other.close().await;
    examiner.main = Some(peer);
    Ok(())
}

/// `validate` of the candidate, then its commit.
pub(super) async fn validate_then_commit(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    if !examiner.can.validate() {
        return Err(Halt::not_tried("the hello does not offer validate"));
    }
    let place = examiner.place()?;
    let (persist, seconds) = (examiner.persist(), examiner.timer_s(LONG_S));
    let mut peer = examiner.take_main().await?;
    examiner.stage(&mut peer, &place.create).await?;
    peer.need(Operation::validate(CANDIDATE)).await?;
    examiner.commit_staged(&mut peer, seconds, persist.as_deref()).await?;
    let is_in_force = examiner.is_present(&mut peer).await?;
    examiner.says(Probe::ValidateKeeps, is_in_force);
    examiner.main = Some(peer);
    Ok(())
}

/// A confirm by another session, and whether it takes later edits along. What is confirmed stays, so the scratch is
/// removed afterwards by an edit.
pub(super) async fn confirm_other(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let token = examiner.token.clone();
    let seconds = examiner.timer_s(LONG_S);
    let mut peer = examiner.take_main().await?;
    examiner.provisional(&mut peer, seconds, Some(&token)).await?;
    let before = peer.read(RUNNING, Some(&place.filter())).await?;
    // An edit that the confirm may take along; the lock must not be in the other session's way.
    peer.ask(Operation::unlock(CANDIDATE)).await?;
    peer.need(edit(CANDIDATE, &place.changed)).await?;
    let mut other = examiner.open().await?;
    let confirmed = other.ask(Operation::commit_confirming(&token)).await?;
    let after = other.read(RUNNING, Some(&place.filter())).await?;
    other.close().await;
    if confirmed.is_error() {
        examiner.found_with(Probe::ConfirmOther, Answer::No, said(&confirmed));
    } else {
        let stays = place.entry_of(&after).is_some();
        examiner.says(Probe::ConfirmOther, stays);
        let takes = place.entry_of(&after) != place.entry_of(&before);
        examiner.says(Probe::ConfirmTakesCandidate, takes);
    }
    peer.ask(Operation::discard_changes()).await?;
    examiner.main = Some(peer);
    Ok(())
}

/// What a confirmed commit leaves that is refused as invalid.
pub(super) async fn refused(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let token = examiner.token.clone();
    let seconds = examiner.timer_s(LONG_S);
    let validates = examiner.can.validate();
    let contents: Vec<Vec<Element>> = place.incomplete.iter().chain(&place.invalid).cloned().collect();
    let mut peer = examiner.take_main().await?;
    for content in contents {
        let locked = peer.ask(Operation::lock(CANDIDATE)).await?;
        if !locked.has_ok() {
            return Err(Halt::unknown(format!("the candidate can't be locked: {}", said(&locked))));
        }
        let test = validates.then_some(TestOption::Set);
        let edited = peer.ask(edit_with(CANDIDATE, &content, test, None)).await?;
        if edited.is_error() {
            peer.all(&[Operation::discard_changes(), Operation::unlock(CANDIDATE)]).await?;
            continue;
        }
        (examiner.is_armed, examiner.is_running_used) = (true, true);
        let committed = peer.ask(confirmed(seconds, Some(&token), None)).await?;
        let cancelled = peer.ask(Operation::cancel_commit(Some(&token))).await?;
        peer.all(&[Operation::discard_changes(), Operation::unlock(CANDIDATE)]).await?;
        if committed.is_error() {
            let is_left = cancelled.is_ok();
            examiner.says(Probe::RefusedCommit, !is_left);
            examiner.main = Some(peer);
            return Ok(());
        }
    }
    examiner.main = Some(peer);
    Err(Halt::not_tried(
        "every invalid content of the scratch is refused before the commit, or accepted by it",
    ))
}
