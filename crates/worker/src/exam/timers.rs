//! Probes of the confirm timer. While a timer is waited for, the device is left quiet: servers exist whose timer does
//! not fire while requests come.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use turnup_core::exam::{Answer, Probe};
use turnup_netconf::{
    operation::{Datastore, Operation},
    xml::Element,
};

use super::{
    Examiner,
    commits::{LONG_S, WRONG_TOKEN, candidate_after},
    is_same,
    peer::{Halt, Peer, confirmed, said},
};
use crate::classify::Step as Phase;

/// Seconds of a timer that is waited for.
const SHORT_S: u32 = 2;
/// Beyond a timer, for the rollback to take place.
const MARGIN: Duration = Duration::from_millis(1_300);
/// Units of confirm timers that are known of, in seconds, and how long beyond it is waited for each.
const UNITS_S: [u64; 4] = [1, 5, 10, 60];
/// A timer that has not fired after so long is not waited for.
const LONGEST_UNIT: Duration = Duration::from_secs(63);
/// Pause between two requests that keep a device busy.
const BUSY: Duration = Duration::from_millis(250);

impl Examiner<'_> {
    /// Waits, without a request, until a timer that began then must have fired.
    async fn wait_for_timer(&self, began: Instant, seconds: u32) {
        sleep_until(began + Duration::from_secs(self.timer_s(seconds).into()) + MARGIN).await;
    }

    /// A commit whose timer is waited for, on the session; whether the change stays.
    async fn outwait(&mut self, peer: &mut Peer) -> Result<bool, Halt> {
        let persist = self.persist();
        let began = self.provisional(peer, self.timer_s(SHORT_S), persist.as_deref()).await?;
        self.wait_for_timer(began, SHORT_S).await;
        self.is_present(peer).await
    }
}

/// Whether a commit is rolled back by its timer, and in which unit that counts.
pub(super) async fn rolls_back(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let persist = examiner.persist();
    let mut peer = examiner.take_main().await?;
    let began = examiner.provisional(&mut peer, 1, persist.as_deref()).await?;
    peer.ask(Operation::unlock(Datastore::Candidate)).await?;
    if !examiner.is_present(&mut peer).await? {
        return Err(Halt::unknown("the commit was answered by ok, and running does not have the change"));
    }
    let by = (began + LONGEST_UNIT).min(examiner.probing_by);
    let mut wait = Duration::from_secs(1) + MARGIN;
    let unit = loop {
        sleep_until((began + wait).min(by)).await;
        if !examiner.is_present(&mut peer).await? {
            break Some(began.elapsed());
        }
        if Instant::now() >= by {
            break None;
        }
        // Quiet for longer than a second each time.
        wait += Duration::from_millis(if wait < Duration::from_secs(12) { 1_500 } else { 3_000 });
    };
    let Some(fired) = unit else {
        let waited = began.elapsed();
        if waited < LONGEST_UNIT {
            return Err(Halt::unknown(format!("not within {} s; --time gives more", waited.as_secs())));
        }
        examiner.found(Probe::TimerRollsBack, Answer::No);
        let why = "the timer does not roll back".to_owned();
        examiner.found(Probe::TimerUnit, Answer::NotTried(why.clone()));
        examiner.found(Probe::CandidateAfterTimer, Answer::NotTried(why));
        examiner.main = Some(peer);
        return Ok(());
    };
    let unit_s = unit_of(fired);
    examiner.unit = Duration::from_secs(unit_s);
    examiner.found(Probe::TimerRollsBack, Answer::Yes);
    let remark = format!("a timer of 1 s had fired after {:.1} s", fired.as_secs_f64());
    examiner.found_with(Probe::TimerUnit, Answer::Number(unit_s), remark);
    candidate_after(examiner, &mut peer, Probe::CandidateAfterTimer, false).await?;
    examiner.main = Some(peer);
    Ok(())
}

/// The unit of a timer of one second that had fired after so long: it is rounded up to whole units, and a rollback that
/// takes its time is no longer one.
fn unit_of(fired: Duration) -> u64 {
    UNITS_S.into_iter().rev().find(|unit| *unit <= fired.as_secs()).unwrap_or(1)
}

/// The rollback while the session holds the lock of the candidate.
pub(super) async fn lock_candidate(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    needs_timer(examiner)?;
    let mut peer = examiner.take_main().await?;
    let stays = examiner.outwait(&mut peer).await?;
    examiner.says(Probe::TimerLockCandidate, !stays);
    examiner.main = Some(peer);
    Ok(())
}

/// The rollback while the session holds both locks.
pub(super) async fn lock_running(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    needs_timer(examiner)?;
    if examiner.known(Probe::LockBoth) != Some(true) {
        return Err(Halt::not_tried("running and candidate can't be locked together"));
    }
    let mut peer = examiner.take_main().await?;
    peer.need(Operation::lock(Datastore::Running)).await?;
    let stays = examiner.outwait(&mut peer).await?;
    if stays {
        // It may only wait for the lock.
        peer.all(&[Operation::unlock(Datastore::Running), Operation::unlock(Datastore::Candidate)]).await?;
        sleep(MARGIN).await;
        let after = examiner.is_present(&mut peer).await?;
        let remark = if after { "the change stays for good" } else { "it rolls back after the unlock" };
        examiner.found_with(Probe::TimerLockRunning, Answer::No, remark);
    } else {
        examiner.found(Probe::TimerLockRunning, Answer::Yes);
    }
    examiner.main = Some(peer);
    Ok(())
}

/// The rollback while requests keep coming.
pub(super) async fn while_busy(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    needs_timer(examiner)?;
    let persist = examiner.persist();
    let mut peer = examiner.take_main().await?;
    let seconds = examiner.timer_s(SHORT_S);
    let began = examiner.provisional(&mut peer, seconds, persist.as_deref()).await?;
    peer.ask(Operation::unlock(Datastore::Candidate)).await?;
    let until = began + Duration::from_secs(seconds.into()) + MARGIN;
    let mut stays = true;
    while stays && Instant::now() < until {
        sleep(BUSY).await;
        stays = examiner.is_present(&mut peer).await?;
    }
    if stays {
        sleep(MARGIN).await;
        let after = examiner.is_present(&mut peer).await?;
        let remark = if after { "nor once they end" } else { "it does once they end" };
        examiner.found_with(Probe::TimerWhileBusy, Answer::No, remark);
    } else {
        examiner.found(Probe::TimerWhileBusy, Answer::Yes);
    }
    examiner.main = Some(peer);
    Ok(())
}

/// A commit with `persist` whose session is lost: it stays until its timer fires.
pub(super) async fn persist_loss(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let token = examiner.token.clone();
    let seconds = examiner.timer_s(LONG_S);
    let mut lost = examiner.open().await?;
    examiner.provisional(&mut lost, seconds, Some(&token)).await?;
    drop(lost);
    sleep(MARGIN).await;
    let mut peer = examiner.take_main().await?;
    let stays = examiner.is_present(&mut peer).await?;
    examiner.says(Probe::PersistLoss, stays);
    examiner.main = Some(peer);
    Ok(())
}

/// A commit without `persist` whose session ends.
pub(super) async fn no_persist_loss(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    needs_timer(examiner)?;
    let seconds = examiner.timer_s(LONG_S);
    let mut lost = examiner.open().await?;
    examiner.provisional(&mut lost, seconds, None).await?;
    lost.close().await;
    sleep(MARGIN).await;
    let mut peer = examiner.take_main().await?;
    let stays = examiner.is_present(&mut peer).await?;
    examiner.says(Probe::NoPersistLoss, !stays);
    examiner.main = Some(peer);
    Ok(())
}

/// Whether a follow-up confirmed commit extends the timer.
async fn extends(
    examiner: &mut Examiner<'_>,
    probe: Probe,
    persist: bool,
    persist_id: bool,
    later_s: u32,
) -> Result<bool, Halt> {
    needs_timer(examiner)?;
    let token = examiner.token.clone();
    let mut peer = examiner.take_main().await?;
    let began = examiner.provisional(&mut peer, examiner.timer_s(SHORT_S), Some(&token)).await?;
    let given = |given: bool| given.then_some(token.as_str());
    let follow_up = confirmed(later_s, given(persist), given(persist_id));
    let extended = peer.ask(follow_up).await?;
    if extended.is_error() {
        examiner.found_with(probe, Answer::No, format!("refused: {}", said(&extended)));
    } else {
        examiner.wait_for_timer(began, SHORT_S).await;
        let stays = examiner.is_present(&mut peer).await?;
        match stays {
            true => examiner.found(probe, Answer::Yes),
            false => examiner.found_with(probe, Answer::No, "answered ok, and the first timer fires"),
        }
    }
    peer.all(&[Operation::cancel_commit(Some(&token)), Operation::unlock(Datastore::Candidate)]).await?;
    examiner.main = Some(peer);
    Ok(!extended.is_error())
}

/// By `persist-id` alone.
pub(super) async fn extend_persist_id(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    extends(examiner, Probe::ExtendPersistId, false, true, LONG_S).await.map(drop)
}

/// By `persist-id` and `persist`.
pub(super) async fn extend_both(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    extends(examiner, Probe::ExtendBoth, true, true, LONG_S).await.map(drop)
}

/// By the same `persist` alone. Servers exist that arm a second timer by it, which empties running when it fires; so it
/// is short, waited for, and running is compared and given back.
pub(super) async fn extend_same_persist(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    if examiner.known(Probe::ExtendPersistId) != Some(false) && !examiner.options.dangerous {
        return Err(Halt::not_tried(
            "persist-id extends the timer; servers exist that arm a second timer by the same persist (--dangerous)",
        ));
    }
    let later_s = SHORT_S + 5;
    let began = Instant::now();
    let was_accepted = extends(examiner, Probe::ExtendSamePersist, true, false, later_s).await?;
    if was_accepted {
        examiner.wait_for_timer(began, later_s).await;
        undo_damage(examiner, Probe::ExtendSamePersist).await?;
    }
    Ok(())
}

/// A confirm after the rollback.
pub(super) async fn confirm_late(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    needs_timer(examiner)?;
    let token = examiner.token.clone();
    let mut peer = examiner.take_main().await?;
    let stays = examiner.outwait(&mut peer).await?;
    if stays {
        return Err(Halt::unknown("the commit was not rolled back while the candidate was locked"));
    }
    let confirmed = peer.ask(Operation::commit_confirming(&token)).await?;
    let published = examiner.is_present(&mut peer).await?;
    examiner.refused(Probe::ConfirmLate, Phase::Confirm, &confirmed);
    if published && let Some(finding) = examiner.findings.last_mut() {
        finding.remark = Some("what was rolled back is in force again".to_owned());
    }
    examiner.main = Some(peer);
    Ok(())
}

/// A confirm with a wrong token while a commit is pending. Servers exist that accept it, keep the timer, and have
/// nothing to go back to when it fires; so the right token confirms at once, and running is compared and given back.
pub(super) async fn confirm_wrong(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    needs_timer(examiner)?;
    let accepts_any = [Probe::ConfirmNothing, Probe::ConfirmLate];
    if accepts_any.iter().any(|probe| examiner.known(*probe) == Some(false)) && !examiner.options.dangerous {
        return Err(Halt::not_tried(
            "it confirms what is not pending, and servers of that kind may empty running on a wrong persist-id \
             (--dangerous)",
        ));
    }
    if examiner.before.is_none() && !examiner.options.dangerous {
        return Err(Halt::not_tried("running could not be read as a whole, so damage could not be undone"));
    }
    let token = examiner.token.clone();
    let seconds = SHORT_S + 3;
    let mut peer = examiner.take_main().await?;
    let began = examiner.provisional(&mut peer, examiner.timer_s(seconds), Some(&token)).await?;
    let wrong = peer.ask(Operation::commit_confirming(WRONG_TOKEN)).await?;
    if wrong.is_error() {
        examiner.refused(Probe::ConfirmWrong, Phase::Confirm, &wrong);
        peer.ask(Operation::cancel_commit(Some(&token))).await?;
        examiner.main = Some(peer);
        return Ok(());
    }
    // Not cancel: what a rollback needs may be gone already.
    peer.ask(Operation::commit_confirming(&token)).await?;
    peer.all(&[Operation::discard_changes(), Operation::unlock(Datastore::Candidate)]).await?;
    examiner.is_armed = false;
    examiner.main = Some(peer);
    examiner.found(Probe::ConfirmWrong, Answer::Accepted);
    examiner.wait_for_timer(began, seconds).await;
    undo_damage(examiner, Probe::ConfirmWrong).await
}

/// Gives running back if the device has emptied it.
async fn undo_damage(examiner: &mut Examiner<'_>, probe: Probe) -> Result<(), Halt> {
    let place = examiner.place()?;
    let Some(before) = examiner.before.clone() else { return Ok(()) };
    let now: Element = examiner.main().await?.read(Datastore::Running, None).await?;
    let now = place.without_entry(&now);
    if is_same(&before, &now) || !now.is_empty() {
        // Anything else is found when the exam ends.
        return Ok(());
    }
    examiner.give_back(&before).await?;
    let remark = "the device emptied running; what it had was put back";
    if let Some(finding) = examiner.findings.iter_mut().rev().find(|finding| finding.probe == probe) {
        finding.remark = Some(remark.to_owned());
    }
    Ok(())
}

/// Probes that wait for a timer make no sense where it does not roll back, and take too long where it counts minutes.
fn needs_timer(examiner: &Examiner<'_>) -> Result<(), Halt> {
    match examiner.known(Probe::TimerRollsBack) {
        Some(true) => Ok(()),
        Some(false) => Err(Halt::not_tried("the timer does not roll back")),
        None => Err(Halt::not_tried("whether the timer rolls back was not found out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_the_longest_that_had_passed() {
        let unit = |ms: u64| unit_of(Duration::from_millis(ms));
        assert_eq!(
            [900, 1_100, 4_900, 5_200, 9_900, 10_400, 59_000, 60_300, 64_000].map(unit),
            [1, 1, 1, 5, 5, 10, 10, 60, 60]
        );
    }
}
