//! Points at which a test can have this process die or freeze: after what a worker that is killed leaves behind
//! in a state of its own.

pub(crate) use turnup_crashpoint::pass;

/// All devices are locked and hold the edit in their candidate.
pub(crate) const AFTER_PREPARE: &str = "worker.after_prepare";
/// All devices hold a commit that goes back by itself.
pub(crate) const AFTER_PROVISIONAL: &str = "worker.after_provisional";
/// One more device has committed for good, as it can't do otherwise.
pub(crate) const AFTER_FOR_GOOD: &str = "worker.after_for_good";
/// The functional checks of all devices have passed, nothing is confirmed.
pub(crate) const AFTER_VERIFY: &str = "worker.after_verify";
/// All devices of a region wait for the decision over all regions, their locks given back.
pub(crate) const AFTER_HOLD: &str = "worker.after_hold";
/// What an earlier worker left, or what can't go through, is taken back on all devices.
pub(crate) const AFTER_UNDO: &str = "worker.after_undo";
/// One device is confirmed, the others are not.
pub(crate) const AFTER_CONFIRM_FIRST: &str = "worker.after_confirm_first";
/// All devices are confirmed.
pub(crate) const AFTER_CONFIRM: &str = "worker.after_confirm";
/// Some orders of a group are in force or refused, the others have not been tried alone yet.
pub(crate) const AFTER_PART: &str = "worker.after_part";
/// The report is published, the delivery not yet acknowledged.
pub(crate) const AFTER_REPORT: &str = "worker.after_report";

/// An exam has found its scratch and has committed nothing yet.
pub(crate) const EXAM_PREPARED: &str = "worker.exam_prepared";
/// An exam holds a confirmed commit; the n-th passage is its n-th commit.
pub(crate) const EXAM_COMMITTED: &str = "worker.exam_committed";

/// Whether devices are to be confirmed one after the other, which the point between the first and the
/// second needs.
pub(crate) fn confirms_one_by_one() -> bool {
    turnup_crashpoint::is_chosen(AFTER_CONFIRM_FIRST)
}
