//! Compiled sets, shared by all who need them.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{ModuleText, Yang, YangMistake, digest};

/// Compiled sets by what is in them: the set that has not been asked for longest goes when there are too
/// many. Who still has a [`Yang`] keeps it.
#[derive(Debug)]
pub struct YangCache {
    capacity: NonZeroUsize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    sets: HashMap<String, Entry>,
    /// Counts questions, so that the oldest is known.
    time: u64,
}

#[derive(Debug)]
struct Entry {
    /// Locked while it is being compiled, so that many who want the same compile it once.
    yang: Arc<Mutex<Option<Yang>>>,
    asked: u64,
}

impl YangCache {
    /// A cache for so many sets.
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self { capacity, kept: Mutex::default() }
    }

    /// The compiled set of these texts. Compiles them if need be (blocking, see [`Yang::from_texts`]);
    /// others wait only if they want the same set.
    ///
    /// # Errors
    /// As [`Yang::from_texts`]; a set with mistakes is not kept.
    pub fn get_or_compile(&self, modules: Vec<ModuleText>) -> Result<Yang, Vec<YangMistake>> {
        self.get_or_compile_without(&modules, &BTreeSet::new())
    }

    /// The same without the modules of these names, see [`Yang::without`].
    ///
    /// # Errors
    /// As [`YangCache::get_or_compile`].
    pub fn get_or_compile_without(
        &self,
        modules: &[ModuleText],
        ignored: &BTreeSet<String>,
    ) -> Result<Yang, Vec<YangMistake>> {
        let digest = digest(modules, ignored);
        let place = self.place(&digest);
        let mut yang = lock(&place);
        if let Some(yang) = yang.as_ref() {
            return Ok(yang.clone());
        }
        match Yang::without(modules, ignored) {
            Ok(compiled) => Ok(yang.insert(compiled).clone()),
            Err(mistakes) => {
                lock(&self.kept).sets.remove(&digest);
                Err(mistakes)
            }
        }
    }

    /// The compiled set of this digest if it is kept and ready.
    #[must_use]
    pub fn get(&self, digest: &str) -> Option<Yang> {
        let place = {
            let mut kept = lock(&self.kept);
            kept.time += 1;
            let time = kept.time;
            let entry = kept.sets.get_mut(digest)?;
            entry.asked = time;
            Arc::clone(&entry.yang)
        };
        place.try_lock().ok()?.clone()
    }

    /// Number of sets kept.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.kept).sets.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&self, digest: &str) -> Arc<Mutex<Option<Yang>>> {
        let mut kept = lock(&self.kept);
        kept.time += 1;
        let time = kept.time;
        if !kept.sets.contains_key(digest) && kept.sets.len() >= self.capacity.get() {
            let oldest =
                kept.sets.iter().min_by_key(|(_, entry)| entry.asked).map(|(digest, _)| digest.clone());
            oldest.and_then(|oldest| kept.sets.remove(&oldest));
        }
        let entry =
            kept.sets.entry(digest.to_owned()).or_insert_with(|| Entry { yang: Arc::default(), asked: time });
        entry.asked = time;
        Arc::clone(&entry.yang)
    }
}

/// A panic elsewhere leaves nothing half done here: values are put in whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
