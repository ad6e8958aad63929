//! Probes of locks: what can be locked, what a lock excludes, and what frees it.

use std::time::Duration;

use tokio::time::sleep;
use turnup_core::exam::{Answer, Probe};
use turnup_netconf::{
    message::Reply,
    operation::{Datastore, Operation},
};

use super::{
    Examiner,
    peer::{Halt, Peer, edit, said},
};
use crate::classify::Step as Phase;

/// Looks for the locks of a lost session, and the pause between two.
const LOOKS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(400);

/// Locks a datastore, for probes that need the lock.
async fn hold(peer: &mut Peer, datastore: Datastore) -> Result<(), Halt> {
    let reply = peer.ask(Operation::lock(datastore)).await?;
    match reply.has_ok() {
        true => Ok(()),
        false => Err(Halt::not_tried(format!("{} can't be locked: {}", datastore.as_str(), said(&reply)))),
    }
}

async fn give_back(peer: &mut Peer, datastore: Datastore, reply: &Reply) -> Result<(), Halt> {
    if reply.has_ok() {
        peer.ask(Operation::unlock(datastore)).await?;
    }
    Ok(())
}

fn names(reply: &Reply, session: u32) -> bool {
    reply.errors().iter().any(|error| error.session_id() == Some(session))
}

/// The lock of running, and what others are denied meanwhile.
pub(super) async fn of_running(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let mut peer = examiner.take_main().await?;
    let locked = peer.ask(Operation::lock(Datastore::Running)).await?;
    examiner.accepted(Probe::LockRunning, &locked);
    if !locked.has_ok() {
        examiner.main = Some(peer);
        return Err(Halt::not_tried("running can't be locked"));
    }
    let again = peer.ask(Operation::lock(Datastore::Running)).await?;
    let mut other = examiner.open().await?;
    let denied = other.ask(Operation::lock(Datastore::Running)).await?;
    let unlocked = other.ask(Operation::unlock(Datastore::Running)).await?;
    examiner.refused(Probe::LockTwice, Phase::Lock, &again);
    examiner.refused(Probe::LockRunningOther, Phase::Lock, &denied);
    examiner.says(Probe::LockHolder, names(&denied, peer.id()));
    examiner.refused(Probe::UnlockOther, Phase::Undo, &unlocked);
    other.close().await;
    peer.ask(Operation::unlock(Datastore::Running)).await?;
    examiner.main = Some(peer);
    Ok(())
}

/// The lock of the candidate, both locks, and what others are denied meanwhile.
pub(super) async fn of_candidate(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let mut peer = examiner.take_main().await?;
    let locked = peer.ask(Operation::lock(Datastore::Candidate)).await?;
    examiner.accepted(Probe::LockCandidate, &locked);
    if !locked.has_ok() {
        examiner.main = Some(peer);
        return Err(Halt::not_tried("the candidate can't be locked"));
    }
    let mut other = examiner.open().await?;
    let denied = other.ask(Operation::lock(Datastore::Candidate)).await?;
    let edited = other.ask(edit(Datastore::Candidate, &place.create)).await?;
    examiner.refused(Probe::LockCandidateOther, Phase::Lock, &denied);
    examiner.refused(Probe::LockStopsEdit, Phase::Edit, &edited);
    other.close().await;
    peer.all(&[Operation::discard_changes(), Operation::unlock(Datastore::Candidate)]).await?;
    if examiner.known(Probe::LockRunning) == Some(true) {
        // In the order in which a deployment locks.
        hold(&mut peer, Datastore::Running).await?;
        let both = peer.ask(Operation::lock(Datastore::Candidate)).await?;
        examiner.accepted(Probe::LockBoth, &both);
        give_back(&mut peer, Datastore::Candidate, &both).await?;
        peer.ask(Operation::unlock(Datastore::Running)).await?;
    } else {
        let why = "running can't be locked".to_owned();
        examiner.found(Probe::LockBoth, Answer::NotTried(why));
    }
    examiner.main = Some(peer);
    Ok(())
}

/// The datastore whose lock serves for probes.
fn lockable(examiner: &Examiner<'_>) -> Result<Datastore, Halt> {
    match (examiner.known(Probe::LockCandidate), examiner.known(Probe::LockRunning)) {
        (Some(true), _) => Ok(Datastore::Candidate),
        (_, Some(true)) => Ok(Datastore::Running),
        _ => Err(Halt::not_tried("neither running nor candidate can be locked")),
    }
}

/// Whether the lock is free soon; if it is, it is given back.
async fn becomes_free(peer: &mut Peer, datastore: Datastore) -> Result<bool, Halt> {
    for look in 0..LOOKS {
        if look > 0 {
            sleep(PAUSE).await;
        }
        let reply = peer.ask(Operation::lock(datastore)).await?;
        if reply.has_ok() {
            give_back(peer, datastore, &reply).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The lock of a session whose connection is lost.
pub(super) async fn after_loss(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let datastore = lockable(examiner)?;
    let mut lost = examiner.open().await?;
    hold(&mut lost, datastore).await?;
    drop(lost);
    let peer = examiner.main().await?;
    let is_free = becomes_free(peer, datastore).await?;
    examiner.says(Probe::LockEndsWithSession, is_free);
    Ok(())
}

/// `kill-session` of a session of the exam's own.
pub(super) async fn after_kill(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let datastore = lockable(examiner)?;
    let mut victim = examiner.open().await?;
    hold(&mut victim, datastore).await?;
    let peer = examiner.main().await?;
    let killed = peer.ask(Operation::kill_session(victim.id())).await?;
    if killed.is_error() {
        return Err(Halt::unknown(format!("kill-session was refused: {}", said(&killed))));
    }
    let is_free = becomes_free(peer, datastore).await?;
    let goes_on = victim.ask(crate::pool::nothing()).await.is_ok_and(|reply| !reply.is_error());
    examiner.says(Probe::KillFreesLocks, is_free);
    examiner.says(Probe::KillEndsSession, !goes_on);
    Ok(())
}
