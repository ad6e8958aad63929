//! Reads the operator's platform profiles on top of the shipped ones.

use std::{fs::File, io::Read as _, path::Path};

use turnup_core::{
    name::PlatformName,
    profile::{MAX_BYTES, Profile, Profiles},
};
use turnup_plan::check_rpc;

use crate::LibraryError;

/// Most files that are read from a folder.
const MAX_FILES: usize = 1_000;

/// The shipped profiles and those of the folder; one of the folder replaces a shipped one of the same name.
///
/// # Errors
/// [`LibraryError::Profile`] for a file that can't be read or has a mistake. A folder that is missing is none.
pub(crate) fn load(folder: &Path) -> Result<Profiles, LibraryError> {
    let failed = |path: &Path, message: String| LibraryError::Profile { path: path.to_owned(), message };
    let mut profiles = Profiles::shipped().map_err(|(name, message)| failed(Path::new(name), message))?;
    if folder.as_os_str().is_empty() || !folder.exists() {
        return Ok(profiles);
    }
    let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(folder, error.to_string()))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(failed(folder, format!("there are more than {MAX_FILES} profiles")));
        }
    }
    paths.sort();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let platform = PlatformName::new(stem).map_err(|error| failed(&path, error.to_string()))?;
        let mut text = String::new();
        let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) + 1;
        let file = File::open(&path).map_err(|error| failed(&path, error.to_string()))?;
        file.take(most).read_to_string(&mut text).map_err(|error| failed(&path, error.to_string()))?;
        let profile = Profile::parse(&text).map_err(|error| failed(&path, error.to_string()))?;
        check_save_rpc(&profile, &text).map_err(|error| failed(&path, error))?;
        profiles.insert(platform, profile);
    }
    Ok(profiles)
}

/// Checks the XML of a profile. It is sent to devices as it is, so a mistake would only show there.
fn check_save_rpc(profile: &Profile, text: &str) -> Result<(), String> {
    if profile.save_rpc.trim().is_empty() {
        return Ok(());
    }
    check_rpc(&profile.save_rpc).map_err(|error| {
        let line = text.lines().position(|line| line.trim_start().starts_with("save_rpc"));
        format!("line {}: save_rpc: {error}", line.map_or(1, |line| line + 1))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn with(files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("turnup-profiles-{}", uuid::Uuid::now_v7()));
            std::fs::create_dir(&path).unwrap();
            for (name, text) in files {
                std::fs::write(path.join(name), text).unwrap();
            }
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn folder_replaces_shipped_profiles_and_adds_others() {
        let folder = Folder::with(&[
            ("junos.toml", "locks = \"running_and_candidate\"\n"),
            ("acme.toml", "settle_ms = 7\n"),
            ("README.md", "no profile"),
        ]);
        let profiles = load(&folder.0).unwrap();
        let of = |name: &str| profiles.of(&PlatformName::new(name).unwrap());
        assert!(of("junos").is_default());
        assert_eq!(of("acme").settle_ms, 7);
        assert!(!of("netopeer2").is_default());
        assert!(load(&folder.0.join("nowhere")).is_ok());
    }

    #[test]
    fn mistake_is_named_with_file_and_line() {
        let folder = Folder::with(&[("acme.toml", "\nlocks = 7\n")]);
        let error = load(&folder.0).unwrap_err().to_string();
        assert!(error.contains("acme.toml: line 2:"), "{error}");
    }

    #[test]
    fn save_rpc_that_is_no_xml_is_named_with_file_and_line() {
        let text = "startup = \"rpc\"\n\nsave_rpc = '<save xmlns=\"urn:x\">'\n";
        let error = load(&Folder::with(&[("acme.toml", text)]).0).unwrap_err().to_string();
        assert!(error.contains("acme.toml: line 3: save_rpc: is not one well-formed XML element"), "{error}");
        assert!(load(&Folder::with(&[("acme.toml", &text.replace("\">", "\"/>"))]).0).is_ok());
    }
}
