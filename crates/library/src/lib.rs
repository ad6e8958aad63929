//! What planning needs to know, in memory: the published service definitions, the pools, and the YANG
//! modules of platforms. Whoever plans (the intake for people who want to see a plan, the scheduler for
//! deployments) asks here, and plans by [`planning`].
//!
//! Architecture invariants:
//! - The status store is the truth about definitions: what is not published there can't be ordered. A
//!   published version never changes, so one that is here is right for ever, and only newer ones are
//!   looked for.
//! - A lookup never waits for a device, and for the store only where something isn't here yet.

pub mod planning;
mod profiles;
mod yang;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use turnup_core::{
    name::{DefinitionName, PlatformName},
    profile::Profiles,
};
use turnup_plan::{Bundle, Catalogue, Definition, Library as Cell, Mistake, Yang};
use turnup_store::{Channel, NewDefinition, Published, Store, StoreError};

/// Who publishes what comes with the folder.
const PUBLISHER: &str = "turnup";

/// Configuration of the library.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder with a folder per service definition, and `pools.yaml`.
    pub folder: PathBuf,
    /// Folder with a folder of `*.yang` per platform; empty: modules come from devices only.
    pub yang_dir: PathBuf,
    /// Folder with a platform profile (`<platform>.toml`) per platform; missing or empty: the shipped ones.
    pub platforms_dir: PathBuf,
    /// How often it is looked for what was published elsewhere, in milliseconds.
    pub refresh_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            folder: "config/services".into(),
            yang_dir: PathBuf::new(),
            platforms_dir: PathBuf::new(),
            refresh_ms: 5_000,
        }
    }
}

/// Why there is no library.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The folder has mistakes.
    #[error("the catalogue has mistakes; see 'turnup definition check':\n{}", list(.0))]
    Mistakes(Vec<Mistake>),
    /// A version was published with other content.
    #[error(
        "definition {name} version {version} in {} is not what was published under that number; \
         a published version never changes: raise 'version' in its definition.yaml", folder.display()
    )]
    Differs {
        /// Name.
        name: DefinitionName,
        /// Version.
        version: u32,
        /// Where the other one is.
        folder: PathBuf,
    },
    /// A platform profile has a mistake, or can't be read.
    #[error("{}: {message}", path.display())]
    Profile {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, with the line where one is to blame.
        message: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Definitions, pools and YANG. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Library {
    store: Store,
    settings: Arc<Settings>,
    cell: Cell,
    /// The last definition that was read; one reads at a time.
    read_up_to: Arc<Mutex<i64>>,
    yang: Arc<yang::Shelf>,
    profiles: Arc<Profiles>,
}

impl Library {
    /// Reads the pools, and all definitions that are published. With `publish`, first publishes those of
    /// the folder that aren't.
    ///
    /// # Errors
    /// See [`LibraryError`].
    pub async fn open(store: Store, settings: Settings, publish: bool) -> Result<Self, LibraryError> {
        let folder = settings.folder.clone();
        // Only the pools are taken from here; the definitions come back from the store.
        let local = Catalogue::load(&folder).map_err(LibraryError::Mistakes)?;
        if publish {
            publish_all(&store, &settings, &local).await?;
        }
        let profiles = profiles::load(&settings.platforms_dir)?;
        let cell = Cell::new(Catalogue::default().with_pools(local.pools().clone()));
        let library = Self {
            yang: Arc::new(yang::Shelf::new(store.clone(), settings.yang_dir.clone())),
            profiles: Arc::new(profiles),
            store,
            settings: Arc::new(settings),
            cell,
            read_up_to: Arc::default(),
        };
        library.refresh().await?;
        Ok(library)
    }

    /// The catalogue as far as it is here.
    #[must_use]
    pub fn now(&self) -> Arc<Catalogue> {
        self.cell.now()
    }

    /// The platform profiles.
    #[must_use]
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The platforms that a device may have: those with a profile, those that a published definition has a template
    /// for, and `null`, which contacts no device.
    #[must_use]
    pub fn platforms(&self) -> BTreeSet<String> {
        let catalogue = self.now();
        let of_definitions = catalogue.platforms().into_iter().map(ToString::to_string);
        let of_profiles = self.profiles.names().map(ToString::to_string);
        of_definitions.chain(of_profiles).chain(["null".to_owned()]).collect()
    }

    /// Reads what was published since.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.yang.refresh().await?;
        let mut read_up_to = self.read_up_to.lock().await;
        loop {
            let stored = self.store.definitions_after(*read_up_to).await?;
            let Some(last) = stored.last().map(|stored| stored.seq) else { return Ok(()) };
            let mut catalogue = Catalogue::clone(&self.now());
            for stored in stored {
                // Checked when it was published, so only a release that reads it otherwise refuses it now.
                match compile(stored.files) {
                    Ok(definition) => catalogue.insert(Arc::new(definition)),
                    Err(error) => {
                        tracing::error!(
                            definition = %stored.name, version = stored.version, error,
                            "a published definition can't be read by this release"
                        );
                        let known =
                            DefinitionName::new(stored.name).ok().zip(u32::try_from(stored.version).ok());
                        if let Some((name, version)) = known {
                            let first = error.lines().next().unwrap_or_default().to_owned();
                            catalogue.insert_unreadable(name, version, first);
                        }
                    }
                }
            }
            // Nobody else updates it meanwhile: they wait for `read_up_to`.
            self.cell.update(|_| catalogue);
            *read_up_to = last;
        }
    }

    /// The catalogue, after a refresh if one of these definitions isn't here; without a version any will do.
    ///
    /// # Errors
    /// If something is missing and the database is away.
    pub async fn with(
        &self,
        needed: &[(&DefinitionName, Option<u32>)],
    ) -> Result<Arc<Catalogue>, StoreError> {
        let catalogue = self.now();
        if needed.iter().all(|(name, version)| catalogue.knows(name, *version)) {
            return Ok(catalogue);
        }
        self.refresh().await?;
        Ok(self.now())
    }

    /// YANG of a platform: the modules of its folder, or else those that were got from a device. None: it is
    /// planned by what the definition declares. May wait for the store and for a compilation, at most 30
    /// seconds; who has to plan without it then is told by the log.
    pub async fn yang(&self, platform: &PlatformName) -> Option<Yang> {
        self.yang.get(platform).await
    }

    /// The same as far as it is known, for those who can't wait; none: ask [`Library::yang`] first.
    #[must_use]
    pub fn yang_at_hand(&self, platform: &PlatformName) -> Option<Option<Yang>> {
        self.yang.at_hand(platform)
    }

    /// Looks for what was published elsewhere, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let every = Duration::from_millis(self.settings.refresh_ms.max(100));
        let wake = Arc::new(Notify::new());
        let _listener = self.store.listen(Channel::Catalogue, Arc::clone(&wake));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = wake.notified() => {}
                // A notification may be missed.
                () = tokio::time::sleep(every) => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "it can't be seen now what was published");
            }
        }
    }
}

fn compile(files: serde_json::Value) -> Result<Definition, String> {
    let files = serde_json::from_value(files).map_err(|error| error.to_string())?;
    let bundle = Bundle::new(files).map_err(|error| error.to_string())?;
    bundle.compile().map_err(|mistakes| list(&mistakes))
}

async fn publish_all(store: &Store, settings: &Settings, local: &Catalogue) -> Result<(), LibraryError> {
    let mut names = Vec::new();
    let mut new = Vec::new();
    for definition in local.iter() {
        let bundle = definition.bundle();
        let folder = settings.folder.join(definition.name().as_str());
        new.push(NewDefinition {
            name: definition.name().to_string(),
            version: i32::try_from(definition.version()).unwrap_or(i32::MAX),
            title: definition.summary().title,
            files: serde_json::json!(bundle.files()),
            digest: bundle.digest(),
            retry: *definition.retry(),
        });
        names.push((definition.name().clone(), definition.version(), folder));
    }
    let published = store.publish(&new, PUBLISHER, Timestamp::now()).await?;
    for ((name, version, folder), published) in names.into_iter().zip(published) {
        match published {
            Published::New => tracing::info!(definition = %name, version, "published"),
            Published::Same => {}
            Published::Differs => return Err(LibraryError::Differs { name, version, folder }),
        }
    }
    Ok(())
}
