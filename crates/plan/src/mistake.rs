//! What is wrong with a service definition, for the designer who wrote it.

use std::{fmt, path::PathBuf};

/// One mistake in a file of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file, or the folder where a file is missing.
    pub file: PathBuf,
    /// Line, counted from 1; 1 where the whole file is meant.
    pub line: u32,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}
