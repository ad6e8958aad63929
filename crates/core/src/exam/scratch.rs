//! The scratch: the part of a device's configuration in which an exam works.

use serde::{Deserialize, Serialize};

/// What marks a scratch as ours on a device: a value in it has this text.
pub const MARK: &str = "turnup-exam";
/// Largest text of one key, in bytes.
const MAX_TEXT_BYTES: usize = 16 << 10;
/// Most steps to the entry.
const MAX_STEPS: usize = 16;

/// The part of a device's configuration in which an exam works: one list entry that no device has. Texts are content of
/// `<config>` (RFC 6241 §7.2) from the top of the data tree; leaves above the entry are keys of the lists around it,
/// and the first leaves of the entry are its keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scratch {
    /// Where it comes from: the platform or file.
    pub name: String,
    /// Path of the entry, local names with slashes, such as `interfaces/interface`.
    pub entry: String,
    /// How many keys the entry has: its first leaves. 0 and 1: one.
    pub keys: u8,
    /// The entry. One of its values has the text `turnup-exam`.
    pub create: String,
    /// The same entry with at least one other value.
    pub changed: String,
    /// The same entry with values in other spellings, such as `01500` for `1500`.
    pub respelled: String,
    /// The same entry with a value that its type forbids.
    pub invalid: String,
    /// The same entry without something that is mandatory, so that a commit refuses it.
    pub incomplete: String,
    /// The same entry with a secret.
    pub secret: String,
    /// The same entry with two entries of a list that is ordered by the user, in this order.
    pub ordered: String,
    /// A leaf of the entry that has a default and is not in `create`.
    pub default_leaf: String,
}

impl Scratch {
    /// Checks what can be checked without XML: the key and what is wrong.
    ///
    /// # Errors
    /// The first key that can't be meant.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let texts = [
            ("entry", &self.entry, true),
            ("create", &self.create, true),
            ("changed", &self.changed, true),
            ("respelled", &self.respelled, false),
            ("invalid", &self.invalid, false),
            ("incomplete", &self.incomplete, false),
            ("secret", &self.secret, false),
            ("ordered", &self.ordered, false),
            ("default_leaf", &self.default_leaf, false),
        ];
        for (key, text, needed) in texts {
            if needed && text.trim().is_empty() {
                return Err((key, "is needed".to_owned()));
            }
            if text.len() > MAX_TEXT_BYTES {
                return Err((key, format!("has {} bytes, at most {MAX_TEXT_BYTES} are read", text.len())));
            }
        }
        let steps: Vec<&str> = self.entry.split('/').collect();
        if steps.len() < 2 || steps.len() > MAX_STEPS || steps.iter().any(|step| step.trim().is_empty()) {
            let why = "is the path of a list entry by local names, such as \"interfaces/interface\"";
            return Err(("entry", why.to_owned()));
        }
        if !self.create.contains(MARK) {
            let why =
                format!("needs a value with the text {MARK:?}, by which a later exam knows it as its own");
            return Err(("create", why));
        }
        Ok(())
    }

    /// Reads a scratch of its own file (TOML): the table `[exam]`, or its keys alone.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            exam: Scratch,
        }
        let at = |error: &toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            text.get(..offset).unwrap_or_default().matches('\n').count() + 1
        };
        let has_table = text.lines().any(|line| line.trim_start().starts_with("[exam]"));
        let read = match has_table {
            true => toml::from_str::<File>(text).map(|file| file.exam),
            false => toml::from_str::<Self>(text),
        };
        let scratch = read.map_err(|error| format!("line {}: {}", at(&error), error.message()))?;
        scratch.check().map_err(|(key, why)| {
            let line =
                text.lines().position(|line| line.trim_start().starts_with(key)).map_or(1, |at| at + 1);
            format!("line {line}: {key}: {why}")
        })?;
        Ok(Self { name: name.to_owned(), ..scratch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Scratch {
        let text = "<a xmlns=\"urn:a\"><b><name>turnup-exam</name></b></a>".to_owned();
        Scratch { entry: "a/b".to_owned(), create: text.clone(), changed: text, ..Scratch::default() }
    }

    #[test]
    fn scratch_needs_entry_and_mark() {
        assert_eq!(good().check(), Ok(()));
        let bad = |scratch: Scratch| scratch.check().unwrap_err().0;
        assert_eq!(bad(Scratch { entry: "a".to_owned(), ..good() }), "entry");
        assert_eq!(bad(Scratch { entry: "a//b".to_owned(), ..good() }), "entry");
        assert_eq!(bad(Scratch { changed: String::new(), ..good() }), "changed");
        assert_eq!(bad(Scratch { create: "<a/>".to_owned(), ..good() }), "create");
        assert_eq!(bad(Scratch { secret: "x".repeat(20_000), ..good() }), "secret");
    }

    #[test]
    fn scratch_file_is_read_with_and_without_its_table() {
        let keys = "entry = \"a/b\"\ncreate = \"<a>turnup-exam</a>\"\nchanged = \"<a/>\"\n";
        let alone = Scratch::parse("mine", keys).unwrap();
        assert_eq!(Scratch::parse("mine", &format!("[exam]\n{keys}")).unwrap(), alone);
        assert_eq!(alone.name, "mine");
        let error = Scratch::parse("mine", "entry = \"a/b\"\ncreat = \"x\"\n").unwrap_err();
        assert!(error.starts_with("line 2: unknown field `creat`"), "{error}");
        let error =
            Scratch::parse("mine", "entry = \"ab\"\ncreate = \"turnup-exam\"\nchanged = \"x\"").unwrap_err();
        assert!(error.starts_with("line 1: entry: is the path"), "{error}");
    }
}
