//! Probes of the candidate: changes of others, what discards them, how edits are checked and refused. Nothing is
//! committed, but for values that the device does not check before.

use turnup_core::exam::{Answer, Probe};
use turnup_netconf::{
    operation::{Datastore, ErrorOption, Operation, TestOption},
    xml::Element,
};

use super::{
    Examiner,
    peer::{Halt, Peer, confirmed, edit, edit_with, said, shape},
};
use crate::classify::Step as Phase;

/// An element that no data model has.
const UNKNOWN_LEAF: &str = "turnup-exam-no-such-leaf";
const UNKNOWN_NAMESPACE: &str = "urn:turnup:exam:no-such-module";

const CANDIDATE: Datastore = Datastore::Candidate;

/// Whether sessions share the candidate, who may lock a changed one, and whether it can be discarded.
pub(super) async fn shared(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let mut peer = examiner.take_main().await?;
    let mut other = examiner.open().await?;
    peer.need(edit(CANDIDATE, &place.create)).await?;
    let is_shared = examiner.has_entry(&mut other, CANDIDATE).await?;
    examiner.says(Probe::CandidateShared, is_shared);
    let denied = other.ask(Operation::lock(CANDIDATE)).await?;
    examiner.refused(Probe::DirtyLockOther, Phase::Lock, &denied);
    if denied.has_ok() {
        other.ask(Operation::unlock(CANDIDATE)).await?;
        // The unlock may have discarded it.
        peer.need(edit(CANDIDATE, &place.create)).await?;
    }
    let own = peer.ask(Operation::lock(CANDIDATE)).await?;
    examiner.refused(Probe::DirtyLockOwn, Phase::Lock, &own);
    let discarded = peer.ask(Operation::discard_changes()).await?;
    let is_gone = !discarded.is_error() && !examiner.has_entry(&mut peer, CANDIDATE).await?;
    examiner.says(Probe::Discard, is_gone);
    if own.has_ok() {
        peer.ask(Operation::unlock(CANDIDATE)).await?;
    }
    other.close().await;
    examiner.main = Some(peer);
    Ok(())
}

/// A session that holds the lock and has the scratch in the candidate.
async fn editor(examiner: &mut Examiner<'_>) -> Result<Peer, Halt> {
    let place = examiner.place()?;
    let mut peer = examiner.open().await?;
    let locked = peer.ask(Operation::lock(CANDIDATE)).await?;
    if !locked.has_ok() {
        return Err(Halt::not_tried(format!("the candidate can't be locked: {}", said(&locked))));
    }
    peer.need(edit(CANDIDATE, &place.create)).await?;
    Ok(peer)
}

/// `unlock` discards the changes.
pub(super) async fn dirty_unlock(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let mut peer = editor(examiner).await?;
    peer.need(Operation::unlock(CANDIDATE)).await?;
    let stays = examiner.has_entry(&mut peer, CANDIDATE).await?;
    examiner.says(Probe::DirtyUnlock, !stays);
    peer.ask(Operation::discard_changes()).await?;
    peer.close().await;
    Ok(())
}

/// Whether the changes of a session that is over are gone; it may take a moment to be noticed.
async fn changes_go(examiner: &mut Examiner<'_>) -> Result<bool, Halt> {
    let mut peer = examiner.take_main().await?;
    for look in 0..5 {
        if look > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        }
        if !examiner.has_entry(&mut peer, CANDIDATE).await? {
            examiner.main = Some(peer);
            return Ok(true);
        }
    }
    examiner.main = Some(peer);
    Ok(false)
}

/// `close-session` of the holder of the lock discards the changes.
pub(super) async fn dirty_close(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    editor(examiner).await?.close().await;
    let are_gone = changes_go(examiner).await?;
    examiner.says(Probe::DirtyClose, are_gone);
    Ok(())
}

/// The loss of the holder's connection discards them.
pub(super) async fn dirty_loss(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    drop(editor(examiner).await?);
    let are_gone = changes_go(examiner).await?;
    examiner.says(Probe::DirtyLoss, are_gone);
    Ok(())
}

/// `validate`, `test-only` and `rollback-on-error`.
pub(super) async fn validation(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let (validates, tests, rolls_back) =
        (examiner.can.validate(), examiner.can.validate_1_1(), examiner.can.rollback_on_error());
    let not_offered = |what: &str| Answer::NotTried(format!("the hello does not offer {what}"));
    let mut peer = examiner.take_main().await?;
    if tests {
        let test = edit_with(CANDIDATE, &place.create, Some(TestOption::TestOnly), None);
        let reply = peer.ask(test).await?;
        let stays = examiner.has_entry(&mut peer, CANDIDATE).await?;
        match reply.is_error() {
            true => examiner.found_with(Probe::TestOnly, Answer::No, format!("refused: {}", said(&reply))),
            false => examiner.says(Probe::TestOnly, !stays),
        }
        peer.need(Operation::discard_changes()).await?;
    } else {
        examiner.found(Probe::TestOnly, not_offered("validate:1.1"));
    }
    peer.need(edit(CANDIDATE, &place.create)).await?;
    if validates {
        let reply = peer.ask(Operation::validate(CANDIDATE)).await?;
        examiner.accepted(Probe::Validate, &reply);
    } else {
        examiner.found(Probe::Validate, not_offered("validate"));
    }
    peer.need(Operation::discard_changes()).await?;
    if rolls_back {
        // A good entry, and one that no data model has.
        let mut content = place.create.clone();
        content.push(Element::new(UNKNOWN_NAMESPACE, UNKNOWN_LEAF).with_text("1"));
        let option = Some(ErrorOption::RollbackOnError);
        let reply = peer.ask(edit_with(CANDIDATE, &content, None, option)).await?;
        match reply.is_error() {
            true => {
                let stays = examiner.has_entry(&mut peer, CANDIDATE).await?;
                examiner.says(Probe::RollbackOnError, !stays);
            }
            false => {
                let why = "the device accepts an element that no module has".to_owned();
                examiner.found(Probe::RollbackOnError, Answer::Unknown(why));
            }
        }
        peer.need(Operation::discard_changes()).await?;
    } else {
        examiner.found(Probe::RollbackOnError, not_offered("rollback-on-error"));
    }
    examiner.main = Some(peer);
    Ok(())
}

/// `create`, `delete`, `remove` and `replace`.
pub(super) async fn operations(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let mut peer = examiner.take_main().await?;
    let deleted = peer.ask(edit(CANDIDATE, &place.removal("delete"))).await?;
    examiner.refused(Probe::DeleteMissing, Phase::Edit, &deleted);
    peer.need(Operation::discard_changes()).await?;
    if examiner.can.base_1_1() {
        let removed = peer.ask(edit(CANDIDATE, &place.removal("remove"))).await?;
        examiner.accepted(Probe::RemoveMissing, &removed);
        peer.need(Operation::discard_changes()).await?;
    } else {
        let why = "remove belongs to base:1.1".to_owned();
        examiner.found(Probe::RemoveMissing, Answer::NotTried(why));
    }
    peer.need(edit(CANDIDATE, &place.create)).await?;
    let created = peer.ask(edit(CANDIDATE, &place.with_operation(&place.create, "create"))).await?;
    examiner.refused(Probe::CreateExisting, Phase::Edit, &created);
    peer.need(Operation::discard_changes()).await?;
    peer.need(edit(CANDIDATE, &place.changed)).await?;
    let replaced = peer.ask(edit(CANDIDATE, &place.with_operation(&place.create, "replace"))).await?;
    let data = peer.read(CANDIDATE, Some(&place.filter())).await?;
    let leaves = |entry: &Element| entry.children().filter(|child| child.is_leaf()).count();
    let wanted = place.entry_in(&place.create).map(leaves);
    let found = place.entry_of(&data).map(leaves);
    match replaced.is_error() {
        true => examiner.found_with(Probe::Replace, Answer::No, said(&replaced)),
        // Defaults may be reported besides.
        false => examiner.says(Probe::Replace, found.is_some() && found >= wanted),
    }
    peer.need(Operation::discard_changes()).await?;
    examiner.main = Some(peer);
    Ok(())
}

/// How content is refused that no data model has.
pub(super) async fn errors(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let mut peer = examiner.take_main().await?;
    let unknown_leaf = place.edited(&place.create, |entry| {
        let leaf = entry.sibling(UNKNOWN_LEAF).with_text("1");
        entry.push(leaf);
    });
    let unknown_namespace = [Element::new(UNKNOWN_NAMESPACE, "no-such-container")];
    let without_key = place.edited(&place.create, |entry| {
        let key = entry.nodes().iter().position(|node| node.element().is_some());
        if let Some(key) = key {
            entry.nodes_mut().remove(key);
        }
    });
    let two_mistakes = place.edited(&place.create, |entry| {
        for name in [UNKNOWN_LEAF, "turnup-exam-no-such-leaf-either"] {
            let leaf = entry.sibling(name).with_text("1");
            entry.push(leaf);
        }
    });
    for (probe, content) in [
        (Probe::ErrorUnknownElement, unknown_leaf.as_slice()),
        (Probe::ErrorUnknownNamespace, &unknown_namespace),
        (Probe::ErrorMissingKey, &without_key),
    ] {
        let reply = peer.ask(edit(CANDIDATE, content)).await?;
        examiner.refused(probe, Phase::Edit, &reply);
        peer.need(Operation::discard_changes()).await?;
    }
    let reply = peer.ask(edit(CANDIDATE, &two_mistakes)).await?;
    let errors = u64::try_from(shape(Phase::Edit, &reply).errors).unwrap_or(u64::MAX);
    examiner.found(Probe::ErrorSeveral, Answer::Number(errors));
    peer.need(Operation::discard_changes()).await?;
    examiner.main = Some(peer);
    Ok(())
}

/// Where and how a value is refused that its type forbids.
pub(super) async fn bad_value(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let content =
        place.invalid.clone().ok_or_else(|| Halt::not_tried("the scratch has no 'invalid' value"))?;
    let mut peer = examiner.take_main().await?;
    let edited = peer.ask(edit(CANDIDATE, &content)).await?;
    let mut refusal = edited.is_error().then_some((Phase::Edit, edited));
    if refusal.is_none() && examiner.can.validate() {
        let valid = peer.ask(Operation::validate(CANDIDATE)).await?;
        refusal = valid.is_error().then_some((Phase::Validate, valid));
    }
    let may_commit = !examiner.options.candidate_only && examiner.can.confirmed_commit_1_1();
    if refusal.is_none() && may_commit {
        peer.need(Operation::discard_changes()).await?;
        peer.need(Operation::lock(CANDIDATE)).await?;
        peer.need(edit(CANDIDATE, &content)).await?;
        (examiner.is_armed, examiner.is_running_used) = (true, true);
        let token = examiner.token.clone();
        let committed = peer.ask(confirmed(examiner.timer_s(5), Some(&token), None)).await?;
        refusal = committed.is_error().then_some((Phase::Commit, committed));
        peer.ask(Operation::cancel_commit(Some(&token))).await?;
    }
    match refusal {
        Some((phase, reply)) => {
            examiner.refused(Probe::ErrorBadValue, phase, &reply);
            examiner.found(Probe::ValuesChecked, Answer::Text(phase.name().to_owned()));
        }
        None => {
            let why = match may_commit {
                true => "the device accepts the value",
                false => "not refused before the commit, and nothing was committed",
            };
            examiner.found(Probe::ErrorBadValue, Answer::Unknown(why.to_owned()));
            examiner.found(Probe::ValuesChecked, Answer::Unknown(why.to_owned()));
        }
    }
    peer.ask(Operation::discard_changes()).await?;
    examiner.main = Some(peer);
    Ok(())
}
