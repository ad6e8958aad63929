//! The catalogue that a role works with while definitions are being published.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::catalogue::Catalogue;

/// A catalogue that can be replaced while others use it. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Library {
    now: Arc<RwLock<Arc<Catalogue>>>,
    /// Held by the one who makes a new catalogue, so that no update gets lost; readers don't wait for it.
    updating: Arc<Mutex<()>>,
}

impl Library {
    /// A library that begins with this catalogue.
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Self {
        Self { now: Arc::new(RwLock::new(Arc::new(catalogue))), updating: Arc::default() }
    }

    /// The catalogue at this moment. It stays as it is for whoever holds it.
    #[must_use]
    pub fn now(&self) -> Arc<Catalogue> {
        // A panic elsewhere can't have left it half written: it is replaced as a whole.
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the catalogue by what `change` makes of it. Updates come one after another.
    pub fn update(&self, change: impl FnOnce(&Catalogue) -> Catalogue) {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::new(change(&self.now()));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Pools;

    #[test]
    fn updates_from_many_threads_all_count() {
        let library = Library::default();
        let before = library.now();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let library = library.clone();
                scope.spawn(move || {
                    library.update(|now| {
                        let pools = (0..=now.pools().iter().count())
                            .map(|n| format!("p{n}: {{title: P, scope: network, from: 1, to: 2}}\n"));
                        now.clone().with_pools(Pools::parse(&pools.collect::<String>()).unwrap())
                    });
                });
            }
        });
        assert_eq!(library.now().pools().iter().count(), 8);
        assert_eq!(before.pools().iter().count(), 0, "whoever holds one keeps it");
    }
}
