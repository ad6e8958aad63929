//! What a failed test leaves for inspection.

use std::{fs, path::PathBuf};

use turnup_tests::{Cluster, Options, runs};

fn kept(run: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(runs::failed()).unwrap().flatten().map(|entry| entry.path());
    entries.find(|path| path.to_string_lossy().ends_with(run))
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_test_keeps_its_logs_and_its_database_and_a_passed_one_does_not() {
    let failing = tokio::spawn(async {
        let mut cluster = Cluster::new(Options::default()).await;
        cluster.start("recorder", &["serve", "recorder"], &[]);
        std::panic::panic_any(cluster.dir.clone());
    });
    let dir = *failing.await.unwrap_err().into_panic().downcast::<PathBuf>().unwrap();
    assert!(!dir.exists(), "{}", dir.display());
    let run = dir.file_name().unwrap().to_str().unwrap();
    let kept = kept(&format!("_{run}")).expect("a folder of the failed run");
    assert!(kept.join("recorder.log").is_file() && kept.join("turnup.toml").is_file());
    let note = fs::read_to_string(kept.join("README")).unwrap();
    let named = fs::read_to_string(kept.join("database")).unwrap();
    let database = named.trim().lines().nth(1).unwrap();
    assert!(note.contains(database) && note.contains(kept.to_str().unwrap()), "{note}");

    let passing = Cluster::new(Options::default()).await;
    let exists = format!("SELECT count(*) FROM pg_database WHERE datname = '{database}'");
    assert_eq!(passing.count(&exists).await, 1, "{database}");
    runs::remove(&kept).await;
    assert_eq!(passing.count(&exists).await, 0, "{database}");
    assert!(!kept.exists());
    let (dir, name) = (passing.dir.clone(), passing.database_url.rsplit('/').next().unwrap().to_owned());
    drop(passing);
    assert!(!dir.exists());
    let other = Cluster::new(Options::default()).await;
    let exists = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(other.count(&exists).await, 0, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_of_an_ended_process_is_kept() {
    let first = Cluster::new(Options::default()).await;
    let run = format!("ended{}", std::process::id());
    let left = first.dir.with_file_name(&run);
    // Moved there whole, as another test process may look for ended runs at the same time.
    let made = runs::failed().with_file_name(&run);
    fs::create_dir(&made).unwrap();
    fs::write(made.join("intake.log"), "the last line").unwrap();
    fs::rename(&made, &left).unwrap();
    let second = Cluster::new(Options::default()).await;
    assert!(!left.exists());
    assert!(first.dir.exists() && second.dir.exists(), "runs of this process go on");
    let kept = kept(&run).expect("a folder of the ended run");
    assert_eq!(fs::read_to_string(kept.join("intake.log")).unwrap(), "the last line");
    runs::remove(&kept).await;
}
