//! Reading the files that commands take. What a file says is `turnup_files`' matter.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use turnup_files::{Delimiter, Document, Fault, MAX_FILE_BYTES, Syntax, text};

use crate::failure::Failure;

/// Most faults of files that are named at once.
const MAX_FAULTS: usize = 100;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its name in messages.
    pub(crate) name: String,
    pub(crate) document: Document,
}

/// Reads files of which each says by its ending how it is written; `-` is standard input, read as NDJSON.
/// If one can't be read, all faults of all files are the failure.
pub(crate) fn read_all(files: &[PathBuf], delimiter: Option<Delimiter>) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::with_capacity(files.len());
    let mut faults = Vec::new();
    for file in files {
        let name = name_of(file);
        let document = text_of(file).and_then(|text| {
            let syntax = syntax_of(file).ok_or_else(|| {
                let ending = ending_of(file);
                vec![Fault::whole(format!(
                    "can't tell what {ending:?} is; use .yaml, .json, .ndjson or .csv"
                ))]
            })?;
            turnup_files::read(&text, syntax, delimiter)
        });
        match document {
            Ok(document) => sources.push(Source { name, document }),
            Err(found) => faults.extend(found.into_iter().map(|fault| placed(&name, &fault))),
        }
    }
    if faults.is_empty() { Ok(sources) } else { Err(unreadable(faults)) }
}

/// The failure of a command whose files can't be read.
pub(crate) fn unreadable(mut faults: Vec<String>) -> Failure {
    let more = faults.len().saturating_sub(MAX_FAULTS);
    faults.truncate(MAX_FAULTS);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    Failure::Usage(faults.join("\n"))
}

/// A fault with its file: `orders.csv:7: …`.
pub(crate) fn placed(name: &str, fault: &Fault) -> String {
    match fault.line {
        Some(line) => format!("{name}:{line}: {}", fault.message),
        None => format!("{name}: {}", fault.message),
    }
}

/// The name of a file in messages.
pub(crate) fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// The text of a file or, for `-`, of standard input.
pub(crate) fn text_of(file: &Path) -> Result<String, Vec<Fault>> {
    let bytes = if file == Path::new("-") {
        bounded(std::io::stdin().lock())
    } else {
        File::open(file).and_then(bounded)
    };
    let bytes = bytes.map_err(|error| vec![Fault::whole(error.to_string())])?;
    text::decode(bytes).map_err(|fault| vec![fault])
}

/// One byte more than may be, so that it is seen.
fn bounded(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The syntax that a file's ending says; standard input is NDJSON.
pub(crate) fn syntax_of(file: &Path) -> Option<Syntax> {
    if file == Path::new("-") { Some(Syntax::Ndjson) } else { Syntax::of_ending(&ending_of(file)) }
}

/// The ending of a file's name.
pub(crate) fn ending_of(file: &Path) -> String {
    file.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_of_all_files_are_named() {
        let dir = std::env::temp_dir().join(format!("turnup-input-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let file = dir.join(name);
            std::fs::write(&file, bytes).unwrap();
            file
        };
        let files = [
            file("good.yaml", b"\xef\xbb\xbfkind: provision\n"),
            file("ansi.csv", b"kind,description\nprovision,Stra\xdfe\n"),
            file("twice.json", b"{\"a\": 1,\n \"a\": 2}"),
            file("lines.ndjson", b"{}\n{\n{\n"),
            file("what.txt", b""),
            dir.join("none.csv"),
        ];
        let failure = read_all(&files, None).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let said = failure.to_string();
        for wanted in [
            "ansi.csv:2: is not UTF-8: byte 0xDF",
            "twice.json:2: the name \"a\" is there twice",
            "lines.ndjson:2: ",
            "lines.ndjson:3: ",
            "what.txt: can't tell what \"txt\" is",
            "none.csv: No such file",
        ] {
            assert!(said.contains(wanted), "{wanted} in {said}");
        }
        let sources = read_all(&files[..1], None).unwrap();
        assert_eq!((sources[0].document.items.len(), sources[0].document.items[0].line), (1, 1));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
