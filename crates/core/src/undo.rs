//! Undo: which order takes back what a completed order did to its service. Pure: the intake loads the completed
//! changes of the service, decides here, and accepts the new order as any other.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{id::OrderId, order::OrderKind};

/// A completed order of a service that changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The order.
    pub order: OrderId,
    /// What it asked for.
    pub kind: OrderKind,
    /// The order that it took back.
    pub undoes: Option<OrderId>,
}

impl Change {
    /// Whether the service exists after it.
    const fn leaves_service(self) -> bool {
        self.kind.has_content()
    }
}

/// How much is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What this order did, where no later order rests on it.
    Order,
    /// What this order and all later ones of the service did.
    ToBefore,
}

/// The order that undoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undo {
    /// What it does.
    pub remedy: Remedy,
    /// The last order that changed the service. The undo is right for as long as that is so.
    pub rests_on: OrderId,
}

/// What takes a service back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The service did not exist: it is removed.
    Decommission,
    /// The service gets the content of this earlier order again.
    Modify {
        /// The order whose content was in force.
        as_of: OrderId,
    },
    /// The service is gone: it is created again, with its id and the content of this earlier order.
    Provision {
        /// The order whose content was in force.
        as_of: OrderId,
    },
}

impl Remedy {
    /// The kind of the order that does it.
    #[must_use]
    pub const fn kind(self) -> OrderKind {
        match self {
            Self::Decommission => OrderKind::Decommission,
            Self::Modify { .. } => OrderKind::Modify,
            Self::Provision { .. } => OrderKind::Provision,
        }
    }

    /// The order whose content it restores.
    #[must_use]
    pub const fn as_of(self) -> Option<OrderId> {
        match self {
            Self::Decommission => None,
            Self::Modify { as_of } | Self::Provision { as_of } => Some(as_of),
        }
    }
}

/// Why an order can't be undone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UndoError {
    /// Its kind changes nothing that could be taken back.
    #[error("{}", nothing_to_take_back(*.0))]
    NothingToTakeBack(OrderKind),
    /// It is not among the completed changes of its service.
    #[error("the order is not among the completed orders of its service")]
    NotCompleted,
    /// These orders changed the service later, in the order of their completion.
    #[error(
        "the service was changed after this order; undo the later orders first, the newest first, or take the \
         service back to its state before this order ('--to-before', to_before=true), which undoes them too"
    )]
    ChangedSince(Vec<Change>),
    /// The service does not exist now and did not exist before the order.
    #[error(
        "the service did not exist before this order and does not exist now; there is nothing to take back"
    )]
    AlreadyGone,
}

fn nothing_to_take_back(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Redeploy => {
            "a Redeploy order writes what the service was to have already; there is nothing to take back"
        }
        _ => "a Validate order changes nothing on a device; there is nothing to take back",
    }
}

/// The order that undoes `order`, a completed one. `changes`: the completed orders that changed its service, in
/// the order of their completion.
///
/// # Errors
/// Why there is no such order.
pub fn undo(order: OrderId, kind: OrderKind, changes: &[Change], extent: Extent) -> Result<Undo, UndoError> {
    if matches!(kind, OrderKind::Redeploy | OrderKind::Validate) {
        return Err(UndoError::NothingToTakeBack(kind));
    }
    let at = changes.iter().position(|change| change.order == order).ok_or(UndoError::NotCompleted)?;
    let later = changes.get(at + 1..).unwrap_or_default();
    if extent == Extent::Order && !later.is_empty() {
        return Err(UndoError::ChangedSince(later.to_vec()));
    }
    let content = |change: &Change| change.leaves_service().then_some(change.order);
    let before = at.checked_sub(1).and_then(|at| changes.get(at)).and_then(content);
    let now = changes.last().ok_or(UndoError::NotCompleted)?;
    let remedy = match (content(now), before) {
        (Some(_), None) => Remedy::Decommission,
        (Some(_), Some(as_of)) => Remedy::Modify { as_of },
        (None, Some(as_of)) => Remedy::Provision { as_of },
        (None, None) => return Err(UndoError::AlreadyGone),
    };
    Ok(Undo { remedy, rests_on: now.order })
}

/// The digest of an undo request: tells its repetition from another request under the same key, although the order
/// that is made of it depends on what the service is.
#[must_use]
pub fn digest(order: OrderId, extent: Extent, request: &Map<String, Value>) -> [u8; 32] {
    let whole = json!({"undo": order, "to_before": extent == Extent::ToBefore, "request": request});
    Sha256::digest(whole.to_string()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> OrderId {
        OrderId(Uuid::from_u128(n))
    }

    /// Orders 1, 2, … of these kinds.
    fn changes(kinds: &[OrderKind]) -> Vec<Change> {
        (1..).zip(kinds).map(|(n, kind)| Change { order: id(n), kind: *kind, undoes: None }).collect()
    }

    fn last(kinds: &[OrderKind]) -> Result<Undo, UndoError> {
        let changes = changes(kinds);
        let last = changes.last().unwrap();
        undo(last.order, last.kind, &changes, Extent::Order)
    }

    use OrderKind::{Decommission, Modify, Provision, Redeploy, Validate};

    #[test]
    fn provision_is_undone_by_decommission() {
        assert_eq!(last(&[Provision]), Ok(Undo { remedy: Remedy::Decommission, rests_on: id(1) }));
    }

    #[test]
    fn modify_is_undone_by_the_content_before_it() {
        let undone = last(&[Provision, Modify, Modify]).unwrap();
        assert_eq!(undone, Undo { remedy: Remedy::Modify { as_of: id(2) }, rests_on: id(3) });
        assert_eq!(undone.remedy.kind(), Modify);
    }

    #[test]
    fn decommission_is_undone_by_provision_of_the_same_content() {
        let undone = last(&[Provision, Modify, Decommission]).unwrap();
        assert_eq!(undone, Undo { remedy: Remedy::Provision { as_of: id(2) }, rests_on: id(3) });
    }

    #[test]
    fn undo_of_an_undo_restores_what_was_undone() {
        // The second modify order takes the first one back; undone, the content of the first is there again.
        let undone = last(&[Provision, Modify, Modify]).unwrap();
        assert_eq!(undone.remedy.as_of(), Some(id(2)));
        // Provision, undone, restored, and that undone again.
        let undone = last(&[Provision, Decommission, Provision]).unwrap();
        assert_eq!(undone.remedy, Remedy::Decommission);
    }

    #[test]
    fn order_on_which_later_ones_rest_is_refused_with_their_names() {
        let all = changes(&[Provision, Modify, Modify, Decommission]);
        let refused = undo(id(2), Modify, &all, Extent::Order).unwrap_err();
        assert_eq!(refused, UndoError::ChangedSince(all[2..].to_vec()));
        assert!(refused.to_string().contains("to_before=true"), "{refused}");
    }

    #[test]
    fn to_before_undoes_the_later_orders_too() {
        let to_before = |kinds: &[OrderKind], n: u128| {
            let all = changes(kinds);
            let kind = all.iter().find(|change| change.order == id(n)).unwrap().kind;
            undo(id(n), kind, &all, Extent::ToBefore).map(|undo| undo.remedy)
        };
        assert_eq!(to_before(&[Provision, Modify, Modify], 2), Ok(Remedy::Modify { as_of: id(1) }));
        assert_eq!(to_before(&[Provision, Modify, Modify], 1), Ok(Remedy::Decommission));
        assert_eq!(to_before(&[Provision, Modify, Decommission], 2), Ok(Remedy::Provision { as_of: id(1) }));
        assert_eq!(to_before(&[Provision, Decommission, Provision], 2), Ok(Remedy::Modify { as_of: id(1) }));
        assert_eq!(to_before(&[Provision, Decommission], 1), Err(UndoError::AlreadyGone));
    }

    #[test]
    fn kinds_that_change_nothing_are_refused() {
        for kind in [Redeploy, Validate] {
            let refused = undo(id(9), kind, &changes(&[Provision]), Extent::ToBefore).unwrap_err();
            assert_eq!(refused, UndoError::NothingToTakeBack(kind));
            assert!(refused.to_string().contains(kind.title()), "{refused}");
        }
        assert_eq!(undo(id(9), Modify, &changes(&[Provision]), Extent::Order), Err(UndoError::NotCompleted));
    }

    /// The content in force after these changes.
    fn content(changes: &[Change]) -> Option<OrderId> {
        changes.last().filter(|change| change.leaves_service()).map(|change| change.order)
    }

    proptest! {
        /// Whatever the life of the service was, the undo leaves the content that was in force before the order.
        #[test]
        fn undo_restores_the_state_before_the_order(
            lives in proptest::collection::vec((1_usize..5, any::<bool>()), 1..4), at in any::<prop::sample::Index>(),
        ) {
            let mut kinds = Vec::new();
            let count = lives.len();
            for (n, (orders, ends)) in lives.into_iter().enumerate() {
                kinds.push(Provision);
                kinds.extend(vec![Modify; orders - 1]);
                if ends || n + 1 < count {
                    kinds.push(Decommission);
                }
            }
            let all = changes(&kinds);
            let at = at.index(all.len());
            let before = content(&all[..at]);
            let now = content(&all);
            match undo(all[at].order, all[at].kind, &all, Extent::ToBefore) {
                Ok(undo) => {
                    prop_assert_eq!(undo.remedy.as_of(), before);
                    prop_assert_eq!(undo.remedy.kind() == Provision, now.is_none());
                    prop_assert_eq!(undo.rests_on, all.last().unwrap().order);
                }
                Err(error) => {
                    prop_assert_eq!(error, UndoError::AlreadyGone);
                    prop_assert_eq!((before, now), (None, None));
                }
            }
        }
    }
}
