//! YANG by platform.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::OnceCell;
use turnup_core::name::PlatformName;
use turnup_plan::{ModuleText, Yang, YangCache};
use turnup_store::{Store, StoreError};

/// Most module sets kept compiled.
const MAX_SETS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);
/// How long somebody waits for a set to be read and compiled.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a platform's modules are from.
#[derive(Debug, Clone)]
enum Source {
    /// Its folder; read once.
    Folder(Yang),
    /// The store: none where it has no modules that can be used.
    Store(Option<Yang>),
}

impl Source {
    fn yang(&self) -> Option<Yang> {
        match self {
            Self::Folder(yang) => Some(yang.clone()),
            Self::Store(yang) => yang.clone(),
        }
    }
}

/// A platform's YANG, or who looks for it.
#[derive(Debug, Default)]
struct Place {
    source: OnceCell<Source>,
    /// Somebody has waited for it in vain, so that nobody else does.
    late: AtomicBool,
}

impl Place {
    fn at_hand(&self) -> Option<Option<Yang>> {
        let late = || self.late.load(Ordering::Relaxed).then_some(None);
        self.source.get().map(Source::yang).or_else(late)
    }
}

/// YANG of platforms, compiled when it is first asked for and then shared by all definitions.
pub(crate) struct Shelf {
    store: Store,
    dir: PathBuf,
    cache: Arc<YangCache>,
    patience: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By platform, how often its modules in the store have changed.
    versions: HashMap<String, i64>,
    platforms: HashMap<PlatformName, Arc<Place>>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Shelf {
    pub(crate) fn new(store: Store, dir: PathBuf) -> Self {
        let cache = Arc::new(YangCache::new(MAX_SETS));
        Self { store, dir, cache, patience: PATIENCE, known: Mutex::default() }
    }

    /// Held for moments only, never over an await.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what came from the store, or is being read from there, if that has changed.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let versions: HashMap<String, i64> = self.store.module_versions().await?.into_iter().collect();
        let mut known = self.known();
        let Known { versions: before, platforms } = &mut *known;
        platforms.retain(|platform, place| {
            let of = |versions: &HashMap<String, i64>| versions.get(platform.as_str()).copied();
            matches!(place.source.get(), Some(Source::Folder(_))) || of(before) == of(&versions)
        });
        known.versions = versions;
        Ok(())
    }

    /// What is known without waiting. None: it has to be looked for.
    pub(crate) fn at_hand(&self, platform: &PlatformName) -> Option<Option<Yang>> {
        self.known().platforms.get(platform)?.at_hand()
    }

    pub(crate) async fn get(self: &Arc<Self>, platform: &PlatformName) -> Option<Yang> {
        let place = Arc::clone(self.known().platforms.entry(platform.clone()).or_default());
        if let Some(yang) = place.at_hand() {
            return yang;
        }
        // A task of its own, so that it goes on for those who come later when nobody waits any more.
        let looking = tokio::spawn(Arc::clone(self).look(platform.clone(), Arc::clone(&place)));
        match tokio::time::timeout(self.patience, looking).await {
            Ok(Ok(yang)) => yang,
            Ok(Err(error)) => {
                tracing::error!(%platform, %error, "looking for the platform's YANG failed; planned without it");
                None
            }
            Err(_) => {
                place.late.store(true, Ordering::Relaxed);
                tracing::warn!(%platform, "the platform's YANG is not compiled yet; planned without it until it is");
                None
            }
        }
    }

    /// Those who look for the same at once wait for the first.
    async fn look(self: Arc<Self>, platform: PlatformName, place: Arc<Place>) -> Option<Yang> {
        match place.source.get_or_try_init(|| self.source(&platform)).await {
            Ok(source) => source.yang(),
            Err(error) => {
                tracing::warn!(%platform, %error, "the platform's YANG can't be read now; planned without it");
                None
            }
        }
    }

    async fn source(&self, platform: &PlatformName) -> Result<Source, StoreError> {
        match self.of_folder(platform).await {
            Some(yang) => Ok(Source::Folder(yang)),
            None => self.of_store(platform).await.map(Source::Store),
        }
    }

    async fn of_folder(&self, platform: &PlatformName) -> Option<Yang> {
        if self.dir.as_os_str().is_empty() {
            return None;
        }
        let folder = self.dir.join(platform.as_str());
        if !folder.is_dir() {
            return None;
        }
        // Compiling a large set takes seconds.
        match tokio::task::spawn_blocking(move || Yang::load_folder(&folder)).await {
            Ok(Ok(yang)) => {
                report_left_out(platform, &yang);
                Some(yang)
            }
            Ok(Err(mistakes)) => {
                for mistake in mistakes {
                    tracing::error!(%platform, %mistake, "the platform's YANG can't be used; planned without it");
                }
                None
            }
            Err(error) => {
                tracing::error!(%platform, %error, "compiling YANG failed");
                None
            }
        }
    }

    async fn of_store(&self, platform: &PlatformName) -> Result<Option<Yang>, StoreError> {
        let texts: Vec<ModuleText> = self
            .store
            .modules(platform.as_str())
            .await?
            .into_iter()
            .map(|schema| ModuleText { name: schema.name, revision: schema.revision, text: schema.text })
            .collect();
        if texts.is_empty() {
            return Ok(None);
        }
        let ignored = self.store.ignored_modules(platform.as_str()).await?;
        let ignored: BTreeSet<String> = ignored.into_iter().map(|module| module.name).collect();
        let cache = Arc::clone(&self.cache);
        match tokio::task::spawn_blocking(move || cache.get_or_compile_without(&texts, &ignored)).await {
            Ok(Ok(yang)) => {
                report_left_out(platform, &yang);
                Ok(Some(yang))
            }
            Ok(Err(mistakes)) => {
                for mistake in mistakes {
                    tracing::warn!(%platform, %mistake, "YANG got from a device can't be used; planned without it");
                }
                Ok(None)
            }
            Err(error) => {
                tracing::error!(%platform, %error, "compiling YANG failed");
                Ok(None)
            }
        }
    }
}

/// Reports the modules that a platform's set was compiled without: in the log, and how many they are.
fn report_left_out(platform: &PlatformName, yang: &Yang) {
    let left_out = yang.left_out();
    metrics::gauge!("turnup_yang_modules_left_out", "platform" => platform.to_string())
        .set(u32::try_from(left_out.len()).unwrap_or(u32::MAX));
    for mistake in left_out {
        tracing::warn!(%platform, %mistake, "a YANG module is left out; plans are checked without it");
    }
}
