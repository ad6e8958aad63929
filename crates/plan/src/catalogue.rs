//! The service catalogue: a folder with a folder per definition.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use turnup_core::name::DefinitionName;

use crate::{definition::Definition, mistake::Mistake, read};

/// Largest file of a definition in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Most definitions of a catalogue.
const MAX_DEFINITIONS: usize = 1_000;

/// All service definitions, by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    definitions: BTreeMap<DefinitionName, Definition>,
}

impl Catalogue {
    /// Reads every folder in `dir` as a definition. Files directly in it and hidden folders are skipped.
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
        let (mut definitions, mut mistakes) = (BTreeMap::new(), Vec::new());
        for folder in folders {
            match Definition::load(&folder) {
                Ok(definition) => {
                    definitions.insert(definition.name().clone(), definition);
                }
                Err(found) => mistakes.extend(found),
            }
        }
        if mistakes.is_empty() { Ok(Self { definitions }) } else { Err(mistakes) }
    }

    /// The definition of this name.
    #[must_use]
    pub fn get(&self, name: &DefinitionName) -> Option<&Definition> {
        self.definitions.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &DefinitionName> {
        self.definitions.keys()
    }

    /// All definitions, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values()
    }
}

impl Definition {
    /// Reads one definition from its folder: `definition.yaml` and the templates it names.
    ///
    /// # Errors
    /// All mistakes in it, by file and line.
    pub fn load(folder: &Path) -> Result<Self, Vec<Mistake>> {
        let file = folder.join("definition.yaml");
        let text =
            read_file(&file).map_err(|error| vec![mistake(&file, format!("can't be read: {error}"))])?;
        read::definition(&file, &text, &|name| read_file(&folder.join(name)))
    }
}

fn mistake(file: &Path, message: String) -> Mistake {
    Mistake { file: file.to_owned(), line: 1, message }
}

fn read_file(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}
