//! What is at hand while something is still being read and compiled.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use jiff::Timestamp;
use turnup_core::ask::SchemaText;
use turnup_store::testing::Database;

use super::*;

const TEXT: &str = "module slow { namespace \"urn:slow\"; prefix s; container slow; }";
/// Deadline of what is waited for.
const LONG: Duration = Duration::from_secs(20);

/// A folder with the modules of the platform `slow`: whoever reads them waits until they are written.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = Self(std::env::temp_dir().join(format!("turnup-yang-{:032x}", rand::random::<u128>())));
        fs::create_dir_all(folder.0.join("slow")).unwrap();
        assert!(Command::new("mkfifo").arg(folder.module()).status().unwrap().success());
        folder
    }

    fn module(&self) -> PathBuf {
        self.0.join("slow/slow.yang")
    }

    /// Writes the module for whoever reads it, and waits for them.
    async fn write(&self) {
        let file = self.module();
        let write = tokio::task::spawn_blocking(move || fs::write(file, TEXT).unwrap());
        tokio::time::timeout(LONG, write).await.unwrap().unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody waits for ever if the test failed: a writer that comes and goes is the end of the file.
        drop(File::options().read(true).write(true).open(self.module()));
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shelf(database: &Database, dir: &Path, patience: Duration) -> Arc<Shelf> {
    Arc::new(Shelf { patience, ..Shelf::new(database.store().clone(), dir.to_owned()) })
}

fn platform(name: &str) -> PlatformName {
    PlatformName::new(name).unwrap()
}

#[tokio::test]
async fn who_compiles_keeps_nobody_waiting() {
    let (database, folder) = (Database::new().await, Folder::new());
    let shelf = shelf(&database, &folder.0, LONG);
    let slow = platform("slow");
    let looking = {
        let (shelf, slow) = (Arc::clone(&shelf), slow.clone());
        tokio::spawn(async move { shelf.get(&slow).await })
    };
    let others = async {
        assert!(shelf.get(&platform("other")).await.is_none());
        shelf.refresh().await.unwrap();
        assert!(
            shelf.at_hand(&platform("other")).is_some_and(|yang| yang.is_none()),
            "it has been looked for"
        );
        assert!(shelf.at_hand(&slow).is_none(), "it is not known yet whether there is one");
    };
    tokio::time::timeout(LONG / 2, others).await.unwrap();
    folder.write().await;
    assert!(looking.await.unwrap().is_some());
    assert!(shelf.at_hand(&slow).is_some_and(|yang| yang.is_some()));
}

#[tokio::test]
async fn nobody_waits_for_ever_and_it_is_there_when_it_is_ready() {
    let (database, folder) = (Database::new().await, Folder::new());
    let shelf = shelf(&database, &folder.0, Duration::from_millis(20));
    let slow = platform("slow");
    assert!(shelf.get(&slow).await.is_none());
    assert!(shelf.at_hand(&slow).is_some_and(|yang| yang.is_none()), "nobody else waits");
    folder.write().await;
    let ready = async {
        while shelf.at_hand(&slow).flatten().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, ready).await.unwrap();
}

#[tokio::test]
async fn what_has_changed_is_looked_for_again() {
    let database = Database::new().await;
    let store = database.store();
    let shelf = shelf(&database, Path::new(""), LONG);
    let module = |revision: &str| {
        let text = format!("module m {{ namespace \"urn:m\"; prefix m; revision {revision}; }}");
        SchemaText { name: "m".to_owned(), revision: Some(revision.to_owned()), text }
    };
    let junos = platform("junos");
    shelf.refresh().await.unwrap();
    assert!(shelf.get(&junos).await.is_none());
    store.keep_modules("junos", &[module("2025-01-01")], Timestamp::now()).await.unwrap();
    shelf.refresh().await.unwrap();
    assert!(shelf.at_hand(&junos).is_none(), "what was not there may be there now");
    let first = shelf.get(&junos).await.unwrap();
    shelf.refresh().await.unwrap();
    assert_eq!(shelf.at_hand(&junos).flatten().unwrap().digest(), first.digest());
    store.keep_modules("junos", &[module("2026-01-01")], Timestamp::now()).await.unwrap();
    shelf.refresh().await.unwrap();
    assert!(shelf.at_hand(&junos).is_none());
    assert_ne!(shelf.get(&junos).await.unwrap().digest(), first.digest());
}
