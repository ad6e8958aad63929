//! Which orders of a group are tried next: pure.
//!
//! All at once first. What is refused as a whole is halved until the guilty one is alone. Of two halves only
//! the first is tried: if it is good, the other is the bad one; if it is bad, nothing is known of the other,
//! which is put aside with the rest. What was put aside is tried all at once again. So one guilty order among n
//! costs at most 2 + log2(n) transactions, each further one as many again.
//!
//! Parts are tried in the order in which the orders came, each when it is over for all before it. So every
//! order ends as if it had been deployed alone after those: none is called guilty that was not refused alone,
//! nor because something isn't there yet that an order before it brings.

/// What came of a part that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tried {
    /// It is over for all of its orders, one way or the other.
    Over,
    /// Undone everywhere, as the content of some order was refused; perhaps of this one.
    Refused(Option<usize>),
    /// Undone everywhere. It is over for these orders, not for the others.
    Without(Vec<usize>),
}

/// The search.
#[derive(Debug)]
pub(crate) struct Search {
    /// Nothing is known of these. They came after the bad ones.
    open: Vec<usize>,
    /// At least one of these is guilty, as far as that can be told.
    bad: Vec<usize>,
    /// One of the bad ones, if an error points at it.
    suspect: Option<usize>,
    trying: Vec<usize>,
}

impl Search {
    pub(crate) fn new(orders: Vec<usize>) -> Self {
        Self { open: orders, bad: Vec::new(), suspect: None, trying: Vec::new() }
    }

    /// What is tried next; then [`Self::tried`]. None: it is over for all.
    pub(crate) fn next(&mut self) -> Option<&[usize]> {
        let before_suspect = self.bad.iter().position(|order| Some(*order) == self.suspect);
        let first = match (before_suspect, self.bad.len()) {
            (_, 0) => return self.take_up(self.open.clone()),
            (Some(0), _) => 1,
            (Some(before), _) => before,
            (None, count) => (count / 2).max(1),
        };
        self.take_up(self.bad.iter().take(first).copied().collect())
    }

    fn take_up(&mut self, part: Vec<usize>) -> Option<&[usize]> {
        self.trying = part;
        (!self.trying.is_empty()).then_some(&self.trying)
    }

    /// What came of it.
    pub(crate) fn tried(&mut self, tried: Tried) {
        let part = std::mem::take(&mut self.trying);
        match tried {
            Tried::Over => self.forget(&part),
            Tried::Without(orders) => self.forget(&orders),
            Tried::Refused(suspect) => {
                self.forget(&part);
                let later = std::mem::take(&mut self.open);
                self.open.append(&mut self.bad);
                self.open.extend(later);
                self.suspect = None;
                if part.len() > 1 {
                    self.suspect = suspect.filter(|suspect| part.contains(suspect));
                    self.bad = part;
                }
            }
        }
    }

    /// It is over for these, whatever is still to be tried.
    pub(crate) fn forget(&mut self, orders: &[usize]) {
        self.open.retain(|order| !orders.contains(order));
        self.bad.retain(|order| !orders.contains(order));
        self.suspect = self.suspect.filter(|suspect| !orders.contains(suspect));
    }

    /// The orders for which it is not over.
    #[cfg(test)]
    fn left(&self) -> Vec<usize> {
        self.open.iter().chain(&self.bad).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Runs a search where the whole is refused if a guilty one is in it: what was found guilty, how many
    /// were tried, how many of them were good.
    fn run(count: usize, guilty: &BTreeSet<usize>, hint: bool) -> (BTreeSet<usize>, usize, usize) {
        let mut search = Search::new((0..count).collect());
        let (mut found, mut done, mut tries, mut commits) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
        while let Some(part) = search.next().map(<[usize]>::to_vec) {
            tries += 1;
            let over = |order: &usize| done.contains(order) || found.contains(order) || part.contains(order);
            assert!((0..part[part.len() - 1]).all(|order| over(&order)), "{part:?} before others");
            let bad = part.iter().find(|order| guilty.contains(order)).copied();
            search.tried(match bad {
                None => {
                    commits += 1;
                    assert!(part.iter().all(|order| done.insert(*order)), "deployed twice");
                    Tried::Over
                }
                Some(bad) => {
                    if part.len() == 1 {
                        found.insert(bad);
                    }
                    Tried::Refused(hint.then_some(bad))
                }
            });
        }
        assert!(found.is_disjoint(&done) && found.len() + done.len() == count, "each ends once");
        (found, tries, commits)
    }

    proptest! {
        #[test]
        fn the_guilty_and_only_they_are_found(
            count in 1_usize..200, picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..6), hint: bool,
        ) {
            let guilty: BTreeSet<usize> = picks.iter().map(|pick| pick.index(count)).collect();
            let (found, tries, _) = run(count, &guilty, hint);
            prop_assert_eq!(&found, &guilty);
            let log = (usize::BITS - (count - 1).leading_zeros()) as usize;
            let each = if hint { 3 } else { 2 + log };
            prop_assert!(tries <= 1 + guilty.len() * each, "{} tries", tries);
        }
    }

    #[test]
    fn one_guilty_among_a_hundred() {
        for guilty in 0..100 {
            let (_, tries, commits) = run(100, &BTreeSet::from([guilty]), false);
            assert!(tries <= 10 && commits <= 8, "{guilty}: {tries} tries, {commits} commits");
            let (_, tries, _) = run(100, &BTreeSet::from([guilty]), true);
            assert!(tries <= 4, "{guilty}: {tries} tries with a hint");
        }
    }

    #[test]
    fn a_hint_that_is_wrong_costs_no_innocent_anything() {
        let mut search = Search::new(vec![0, 1, 2, 3]);
        search.next();
        search.tried(Tried::Refused(Some(2)));
        assert_eq!(search.next(), Some(&[0, 1][..]), "those before it first");
        search.tried(Tried::Over);
        assert_eq!(search.next(), Some(&[2][..]));
        search.tried(Tried::Over);
        assert_eq!(search.next(), Some(&[3][..]));
        search.tried(Tried::Refused(None));
        assert_eq!(search.next(), None);
    }

    #[test]
    fn who_drops_out_is_not_tried_again() {
        let mut search = Search::new(vec![0, 1, 2, 3]);
        search.next();
        search.tried(Tried::Refused(None));
        assert_eq!(search.next(), Some(&[0, 1][..]));
        search.tried(Tried::Without(vec![1]));
        assert_eq!(search.left(), [0, 2, 3]);
        search.forget(&[2, 3]);
        assert_eq!(search.next(), Some(&[0][..]));
        search.tried(Tried::Over);
        assert_eq!(search.next(), None);
    }
}
