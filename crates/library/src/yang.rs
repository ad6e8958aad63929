//! YANG by platform.

use std::{collections::HashMap, num::NonZeroUsize, path::PathBuf, sync::Arc};

use tokio::sync::Mutex;
use turnup_core::name::PlatformName;
use turnup_plan::{ModuleText, Yang, YangCache};
use turnup_store::{Store, StoreError};

/// Most module sets kept compiled.
const MAX_SETS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// Where a platform's modules are from.
#[derive(Debug, Clone)]
enum Source {
    /// Its folder; read once.
    Folder(Yang),
    /// The store: none where it has no modules that can be used.
    Store(Option<Yang>),
}

/// YANG of platforms, compiled when it is first asked for and then shared by all definitions.
pub(crate) struct Shelf {
    store: Store,
    dir: PathBuf,
    cache: Arc<YangCache>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By platform, how often its modules in the store have changed.
    versions: HashMap<String, i64>,
    platforms: HashMap<PlatformName, Source>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Shelf {
    pub(crate) fn new(store: Store, dir: PathBuf) -> Self {
        Self { store, dir, cache: Arc::new(YangCache::new(MAX_SETS)), known: Mutex::default() }
    }

    /// Forgets what came from the store if that has changed.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let versions: HashMap<String, i64> = self.store.module_versions().await?.into_iter().collect();
        let mut known = self.known.lock().await;
        let Known { versions: before, platforms } = &mut *known;
        platforms.retain(|platform, source| {
            let of = |versions: &HashMap<String, i64>| versions.get(platform.as_str()).copied();
            matches!(source, Source::Folder(_)) || of(before) == of(&versions)
        });
        known.versions = versions;
        Ok(())
    }

    pub(crate) async fn get(&self, platform: &PlatformName) -> Option<Yang> {
        let mut known = self.known.lock().await;
        if let Some(source) = known.platforms.get(platform) {
            return match source {
                Source::Folder(yang) => Some(yang.clone()),
                Source::Store(yang) => yang.clone(),
            };
        }
        let source = match self.of_folder(platform).await {
            Some(yang) => Source::Folder(yang),
            None => match self.of_store(platform).await {
                Ok(yang) => Source::Store(yang),
                Err(error) => {
                    tracing::warn!(%platform, %error, "the platform's YANG can't be read now; planned without it");
                    return None;
                }
            },
        };
        let yang = match &source {
            Source::Folder(yang) => Some(yang.clone()),
            Source::Store(yang) => yang.clone(),
        };
        known.platforms.insert(platform.clone(), source);
        yang
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
            Ok(Ok(yang)) => Some(yang),
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
        let cache = Arc::clone(&self.cache);
        match tokio::task::spawn_blocking(move || cache.get_or_compile(texts)).await {
            Ok(Ok(yang)) => Ok(Some(yang)),
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
