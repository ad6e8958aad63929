//! The files of one definition, as they are published: what a version of a definition *is*.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use turnup_core::name::DefinitionName;
use turnup_files::{Content, Node, yaml};

use crate::{definition::Definition, mistake::Mistake, read};

/// The file that every definition has.
pub(crate) const MAIN: &str = "definition.yaml";
/// Most files of a definition.
pub const MAX_BUNDLE_FILES: usize = 64;
/// Largest file of a definition in bytes.
pub const MAX_FILE_BYTES: usize = 256 << 10;
/// Most bytes of a definition's files in all.
pub const MAX_BUNDLE_BYTES: usize = 512 << 10;
/// Longest name of a file in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The files of one definition: `definition.yaml` and those that it names. Names and sizes have been
/// checked, the contents have not: [`Self::compile`] does that.
///
/// As JSON: `{"files": {"definition.yaml": "…", …}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Bundle {
    files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    files: BTreeMap<String, String>,
}

impl TryFrom<Unchecked> for Bundle {
    type Error = BadBundle;

    fn try_from(unchecked: Unchecked) -> Result<Self, BadBundle> {
        Self::new(unchecked.files)
    }
}

/// Why files are no definition's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBundle {
    /// A name that can't be a file's.
    #[error(
        "{name:?} must be the name of a file in the definition's own folder: letters, digits, '-', '_' and '.'"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// `definition.yaml` is missing.
    #[error("a definition has a file {MAIN}")]
    NoMain,
    /// A file is too large.
    #[error("{name}: larger than {MAX_FILE_BYTES} bytes")]
    File {
        /// The file.
        name: String,
    },
    /// Too many files.
    #[error("a definition has at most {MAX_BUNDLE_FILES} files, these are {count}")]
    Files {
        /// How many.
        count: usize,
    },
    /// Too large in all.
    #[error("a definition's files have at most {MAX_BUNDLE_BYTES} bytes in all, these have {bytes}")]
    Bytes {
        /// How many.
        bytes: usize,
    },
}

impl Bundle {
    /// Files by name.
    ///
    /// # Errors
    /// For a name that is no plain file name, and for too much of anything.
    pub fn new(files: BTreeMap<String, String>) -> Result<Self, BadBundle> {
        if files.len() > MAX_BUNDLE_FILES {
            return Err(BadBundle::Files { count: files.len() });
        }
        for (name, text) in &files {
            if !is_file_name(name) {
                return Err(BadBundle::Name { name: name.chars().take(MAX_NAME_BYTES).collect() });
            }
            if text.len() > MAX_FILE_BYTES {
                return Err(BadBundle::File { name: name.clone() });
            }
        }
        let bytes = files.values().map(String::len).sum();
        if bytes > MAX_BUNDLE_BYTES {
            return Err(BadBundle::Bytes { bytes });
        }
        if files.contains_key(MAIN) { Ok(Self { files }) } else { Err(BadBundle::NoMain) }
    }

    /// Reads `definition.yaml` in a folder and the files that it names; others there don't matter. A file
    /// that is named and not there is left to [`Self::compile`], which knows the line. Blocking.
    ///
    /// # Errors
    /// A mistake for each file that can't be read or is too large.
    pub fn read(folder: &Path) -> Result<Self, Vec<Mistake>> {
        let unreadable = |name: &str, error: io::Error| Mistake {
            file: folder.join(name),
            line: 1,
            message: format!("can't be read: {error}"),
        };
        let main = read_file(&folder.join(MAIN)).map_err(|error| vec![unreadable(MAIN, error)])?;
        let mut mistakes = Vec::new();
        let mut files = BTreeMap::new();
        for name in named(&main) {
            match read_file(&folder.join(&name)) {
                Ok(text) => {
                    files.insert(name, text);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => mistakes.push(unreadable(&name, error)),
            }
        }
        files.insert(MAIN.to_owned(), main);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Self::new(files)
            .map_err(|error| vec![Mistake { file: folder.join(MAIN), line: 1, message: error.to_string() }])
    }

    /// Name → content.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    pub(crate) fn file(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// SHA-256 of names and contents: two bundles with the same digest are the same definition, whatever
    /// order their files came in.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in self.files.iter().flat_map(|(name, text)| [name, text]) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// Checks and compiles the definition. Whether the pools that it names exist is
    /// [`Definition::pool_mistakes`]' matter.
    ///
    /// # Errors
    /// All mistakes, by file and line; files are named `definition/file`.
    pub fn compile(&self) -> Result<Definition, Vec<Mistake>> {
        let name = self.file(MAIN).and_then(name_in);
        let prefix = name.map_or_else(PathBuf::new, |name| PathBuf::from(name.as_str()));
        read::definition(&prefix, None, &Arc::new(self.clone()))
    }
}

impl Definition {
    /// Reads one definition from its folder, which has the definition's name: `definition.yaml` and the
    /// files that it names. Blocking.
    ///
    /// # Errors
    /// All mistakes in it, by file and line.
    pub fn load(folder: &Path) -> Result<Self, Vec<Mistake>> {
        let bundle = Bundle::read(folder)?;
        let name = folder.file_name().and_then(|name| name.to_str());
        read::definition(folder, name, &Arc::new(bundle))
    }
}

/// A file directly in the definition's folder.
pub(crate) fn is_file_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The value of a key of a map.
fn value<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Content::Map(entries) = &node.content else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

fn text(node: &Node) -> Option<&str> {
    let Content::Text(text) = &node.content else { return None };
    Some(text)
}

/// The name in a definition's text, if it is readable that far.
fn name_in(main: &str) -> Option<DefinitionName> {
    let root = yaml::parse(main).ok()?;
    DefinitionName::new(text(value(&root, "name")?)?).ok()
}

/// The files that a definition names, as far as it is readable. What it names wrongly is found later.
fn named(main: &str) -> BTreeSet<String> {
    let Ok(root) = yaml::parse(main) else { return BTreeSet::new() };
    let Some(Node { content: Content::Map(platforms), .. }) = value(&root, "platforms") else {
        return BTreeSet::new();
    };
    platforms
        .iter()
        .flat_map(|platform| ["template", "audit"].map(|key| value(&platform.value, key)))
        .filter_map(|node| text(node?))
        .filter(|name| is_file_name(name))
        .map(str::to_owned)
        .take(MAX_BUNDLE_FILES)
        .collect()
}

/// Reads a file of the catalogue, not more than may be.
pub(crate) fn read_file(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    turnup_files::text::decode(bytes).map_err(|fault| io::Error::other(fault.to_string()))
}
