//! The service catalogue: a folder with a folder per definition, and the pools of resources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::Arc,
};

use turnup_core::name::{DefinitionName, PlatformName};

use crate::{
    bundle::read_file,
    definition::Definition,
    mistake::Mistake,
    pools::{POOLS_FILE, Pools},
};

/// Most definitions of a catalogue folder.
const MAX_DEFINITIONS: usize = 1_000;

/// Service definitions by name and version, and the pools that they take resources from. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    definitions: BTreeMap<DefinitionName, BTreeMap<u32, Arc<Definition>>>,
    /// Published versions that this release doesn't understand, and why.
    unreadable: BTreeMap<DefinitionName, BTreeMap<u32, String>>,
    pools: Arc<Pools>,
}

impl Catalogue {
    /// Reads every folder in `dir` as a definition, and `pools.yaml` if it is there. Other files directly
    /// in it and hidden folders are skipped. Blocking.
    ///
    /// # Errors
    /// All mistakes in all definitions, by file and line; then none of them can be used.
    pub fn load(dir: &Path) -> Result<Self, Vec<Mistake>> {
        let failed = |error: io::Error| vec![mistake(dir, format!("the catalogue can't be read: {error}"))];
        let mut folders = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.is_dir() && !hidden {
                folders.push(path);
            }
        }
        if folders.len() > MAX_DEFINITIONS {
            return Err(vec![mistake(dir, format!("more than {MAX_DEFINITIONS} definitions"))]);
        }
        folders.sort();
        let mut mistakes = Vec::new();
        let pools = load_pools(dir).unwrap_or_else(|found| {
            mistakes.extend(found);
            Pools::default()
        });
        // With broken pools every use of one would be a mistake.
        let pools_known = mistakes.is_empty();
        let mut catalogue = Self::default().with_pools(pools);
        for folder in folders {
            match Definition::load(&folder) {
                Ok(definition) => {
                    if pools_known {
                        let found = definition.pool_mistakes(&catalogue.pools);
                        mistakes.extend(found.into_iter().map(|found| in_folder(found, &folder)));
                    }
                    catalogue.insert(Arc::new(definition));
                }
                Err(found) => mistakes.extend(found),
            }
        }
        if mistakes.is_empty() { Ok(catalogue) } else { Err(mistakes) }
    }

    /// The newest version of a definition.
    #[must_use]
    pub fn get(&self, name: &DefinitionName) -> Option<&Arc<Definition>> {
        self.definitions.get(name)?.values().next_back()
    }

    /// A certain version of a definition.
    #[must_use]
    pub fn version(&self, name: &DefinitionName, version: u32) -> Option<&Arc<Definition>> {
        self.definitions.get(name)?.get(&version)
    }

    /// The versions that are there of a definition, oldest first.
    pub fn versions(&self, name: &DefinitionName) -> impl DoubleEndedIterator<Item = u32> {
        self.definitions.get(name).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// Adds a version of a definition, or replaces it.
    pub fn insert(&mut self, definition: Arc<Definition>) {
        let versions = self.definitions.entry(definition.name().clone()).or_default();
        versions.insert(definition.version(), definition);
    }

    /// Adds a published version that this release doesn't understand. For as long as the process lives: neither
    /// of the two changes.
    pub fn insert_unreadable(&mut self, name: DefinitionName, version: u32, why: String) {
        self.unreadable.entry(name).or_default().insert(version, why);
    }

    /// Whether it is known what there is of a version, be it that it can't be read; without a version, of any.
    #[must_use]
    pub fn knows(&self, name: &DefinitionName, version: Option<u32>) -> bool {
        let readable = match version {
            None => self.get(name).is_some(),
            Some(version) => self.version(name, version).is_some(),
        };
        readable || self.unreadable(name, version).is_some()
    }

    /// Why a published version can't be used, and what to do; without a version, why none of them can.
    #[must_use]
    pub fn unreadable(&self, name: &DefinitionName, version: Option<u32>) -> Option<String> {
        let versions = self.unreadable.get(name)?;
        let (version, why) = match version {
            Some(version) => versions.get_key_value(&version)?,
            None if self.get(name).is_none() => versions.last_key_value()?,
            None => return None,
        };
        Some(format!(
            "definition {name} version {version} is published, but this release of turnup can't read it ({why}); \
             upgrade turnup, or publish and use a version that it can read"
        ))
    }

    /// The pools of resources.
    #[must_use]
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The same with other pools.
    #[must_use]
    pub fn with_pools(mut self, pools: Pools) -> Self {
        self.pools = Arc::new(pools);
        self
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &DefinitionName> {
        self.definitions.keys()
    }

    /// The platforms that some version of a definition has templates for.
    #[must_use]
    pub fn platforms(&self) -> BTreeSet<&PlatformName> {
        self.definitions
            .values()
            .flat_map(BTreeMap::values)
            .flat_map(|definition| definition.platforms())
            .collect()
    }

    /// The newest version of every definition, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values().filter_map(|versions| versions.values().next_back()).map(AsRef::as_ref)
    }
}

fn load_pools(dir: &Path) -> Result<Pools, Vec<Mistake>> {
    let file = dir.join(POOLS_FILE);
    let text = match read_file(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pools::default()),
        Err(error) => return Err(vec![mistake(&file, format!("can't be read: {error}"))]),
    };
    Pools::parse(&text)
        .map_err(|found| found.into_iter().map(|mistake| Mistake { file: file.clone(), ..mistake }).collect())
}

/// A mistake in `definition/file` as one in the file of a folder.
fn in_folder(mistake: Mistake, folder: &Path) -> Mistake {
    let file = mistake.file.file_name().map_or_else(|| folder.to_owned(), |file| folder.join(file));
    Mistake { file, ..mistake }
}

fn mistake(file: &Path, message: String) -> Mistake {
    Mistake { file: file.to_owned(), line: 1, message }
}
