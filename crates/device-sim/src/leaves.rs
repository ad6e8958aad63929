//! A configuration as an ordered map of its leaves, and changes to it as another.
//!
//! A list entry is there as long as its key leaf is. The candidate is running plus an [`Overlay`] of those
//! leaves that differ, so an edit, a commit and a rollback cost what they change and not what there is.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;

use crate::path::Path;

/// All leaves of a configuration with their canonical values.
pub type Leaves = BTreeMap<Path, Box<str>>;

/// Leaves that differ from a base: their new values, or `None` where they are gone. It holds no entry that
/// says the same as the base.
pub type Overlay = BTreeMap<Path, Option<Box<str>>>;

/// One leaf that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub path: Path,
    /// Its value before, if it was there.
    pub old: Option<Box<str>>,
    /// Its value after, if it is there.
    pub new: Option<Box<str>>,
}

/// A configuration seen through an overlay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'v> {
    pub(crate) base: &'v Leaves,
    pub(crate) overlay: &'v Overlay,
}

/// The overlay of a configuration that is seen as it is.
pub(crate) static NOTHING: Overlay = Overlay::new();

impl<'v> View<'v> {
    pub(crate) fn plain(base: &'v Leaves) -> Self {
        Self { base, overlay: &NOTHING }
    }

    pub(crate) fn get(self, path: &[u8]) -> Option<&'v str> {
        match self.overlay.get(path) {
            Some(value) => value.as_deref(),
            None => self.base.get(path).map(|value| &**value),
        }
    }

    /// The leaf at this path and all below it, in order.
    pub(crate) fn under(self, prefix: &[u8]) -> Under<'v, '_> {
        Under {
            prefix,
            base: from(self.base, prefix).peekable(),
            overlay: from(self.overlay, prefix).peekable(),
        }
    }

    pub(crate) fn any_under(self, prefix: &[u8]) -> bool {
        self.under(prefix).next().is_some()
    }
}

/// The entries of a map from `first` on.
fn from<'m, V>(map: &'m BTreeMap<Path, V>, first: &[u8]) -> Range<'m, Path, V> {
    map.range::<[u8], _>((Bound::Included(first), Bound::Unbounded))
}

/// Iterator of [`View::under`].
pub(crate) struct Under<'v, 'p> {
    prefix: &'p [u8],
    base: Peekable<Range<'v, Path, Box<str>>>,
    overlay: Peekable<Range<'v, Path, Option<Box<str>>>>,
}

impl<'v> Iterator for Under<'v, '_> {
    type Item = (&'v Path, &'v str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let prefix = self.prefix;
            let inside = |path: &Path| path.as_bytes().starts_with(prefix);
            let base = self.base.peek().map(|(path, _)| *path).filter(|path| inside(path));
            let overlay = self.overlay.peek().map(|(path, _)| *path).filter(|path| inside(path));
            if let Some(over) = overlay
                && base.is_none_or(|base| over <= base)
            {
                if base == overlay {
                    self.base.next();
                }
                match self.overlay.next() {
                    Some((path, Some(value))) => return Some((path, value)),
                    _ => continue,
                }
            }
            base?;
            return self.base.next().map(|(path, value)| (path, &**value));
        }
    }
}

/// Changes an overlay of `base` and can take the changes back.
#[derive(Debug)]
pub(crate) struct Draft<'d> {
    pub(crate) base: &'d Leaves,
    pub(crate) overlay: &'d mut Overlay,
    /// What the overlay held before, in the order of the changes.
    before: Vec<(Path, Option<Option<Box<str>>>)>,
}

impl<'d> Draft<'d> {
    pub(crate) fn new(base: &'d Leaves, overlay: &'d mut Overlay) -> Self {
        Self { base, overlay, before: Vec::new() }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { base: self.base, overlay: self.overlay }
    }

    /// Gives a leaf this value, or takes it away.
    pub(crate) fn set(&mut self, path: &[u8], value: Option<&str>) {
        if self.view().get(path) == value {
            return;
        }
        let path = Path::from(path);
        let previous = match self.base.get(&path).map(|old| &**old) == value {
            true => self.overlay.remove(&path),
            false => self.overlay.insert(path.clone(), value.map(Box::from)),
        };
        self.before.push((path, previous));
    }

    /// Takes away the leaf at this path and all below it.
    pub(crate) fn clear(&mut self, prefix: &[u8]) {
        let paths: Vec<Path> = self.view().under(prefix).map(|(path, _)| path.clone()).collect();
        for path in paths {
            self.set(path.as_bytes(), None);
        }
    }

    /// Whether anything was changed.
    pub(crate) fn is_changed(&self) -> bool {
        !self.before.is_empty()
    }

    /// Makes the overlay what it was.
    pub(crate) fn undo(self) {
        for (path, previous) in self.before.into_iter().rev() {
            match previous {
                Some(entry) => self.overlay.insert(path, entry),
                None => self.overlay.remove(&path),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(number: u8) -> Path {
        // Prefixes of each other on purpose.
        Path::from(&[1, number / 4, number % 4][..if number.is_multiple_of(3) { 2 } else { 3 }])
    }

    fn leaves() -> impl Strategy<Value = Leaves> {
        prop::collection::btree_map((0u8..16).prop_map(path), "[ab]".prop_map(Box::from), 0..12)
    }

    fn edits() -> impl Strategy<Value = Vec<(Path, Option<String>)>> {
        prop::collection::vec(((0u8..16).prop_map(path), prop::option::of("[ab]")), 0..20)
    }

    proptest! {
        #[test]
        fn a_view_is_the_base_with_the_changes(base in leaves(), edits in edits(), prefix in 0u8..16) {
            let mut overlay = Overlay::new();
            let mut draft = Draft::new(&base, &mut overlay);
            let mut model = base.clone();
            for (path, value) in &edits {
                draft.set(path.as_bytes(), value.as_deref());
                match value {
                    Some(value) => drop(model.insert(path.clone(), value.as_str().into())),
                    None => drop(model.remove(path)),
                }
            }
            let view = View { base: &base, overlay: &overlay };
            for prefix in [path(prefix), Path::default()] {
                let seen: Vec<(Path, Box<str>)> = view
                    .under(prefix.as_bytes())
                    .map(|(path, value)| (path.clone(), value.into()))
                    .collect();
                let expected: Vec<(Path, Box<str>)> = model
                    .iter()
                    .filter(|(path, _)| path.as_bytes().starts_with(prefix.as_bytes()))
                    .map(|(path, value)| (path.clone(), value.clone()))
                    .collect();
                prop_assert_eq!(seen, expected);
            }
            for (path, value) in &overlay {
                prop_assert_ne!(base.get(path), value.as_ref(), "an entry that says the same as the base");
            }
        }

        #[test]
        fn undo_makes_the_overlay_what_it_was(base in leaves(), first in edits(), second in edits()) {
            let mut overlay = Overlay::new();
            let mut draft = Draft::new(&base, &mut overlay);
            first.iter().for_each(|(path, value)| draft.set(path.as_bytes(), value.as_deref()));
            let before = overlay.clone();
            let mut draft = Draft::new(&base, &mut overlay);
            draft.clear(path(3).as_bytes());
            second.iter().for_each(|(path, value)| draft.set(path.as_bytes(), value.as_deref()));
            draft.undo();
            prop_assert_eq!(overlay, before);
        }
    }
}
