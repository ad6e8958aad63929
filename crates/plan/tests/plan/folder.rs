//! A catalogue in a temporary folder.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use turnup_plan::{Catalogue, Mistake};

pub(crate) struct Folder(PathBuf);

impl Folder {
    /// With files given as relative path and content.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("turnup-plan-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        for (path, content) in files {
            let path = folder.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn load(&self) -> Result<Catalogue, Vec<Mistake>> {
        Catalogue::load(&self.0)
    }

    /// The mistakes as `file:line: message`, relative to the folder.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let relative = |mut mistake: Mistake| {
            mistake.file = mistake.file.strip_prefix(&self.0).unwrap().to_owned();
            mistake.to_string()
        };
        self.load().unwrap_err().into_iter().map(relative).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
