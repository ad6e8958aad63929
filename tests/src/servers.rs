//! Servers of a test's own, for those tests that kill them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use crate::wait::PATIENCE;

/// Name of a folder of servers, before the id of its process.
const FOLDER: &str = "turnup-servers-";
/// Folders of failed tests that are kept.
const KEPT: usize = 3;

/// A private Postgres and a private RabbitMQ. Dropping them ends both and removes their data; after a failure the
/// data and the logs stay.
#[derive(Debug)]
pub struct Servers {
    dir: PathBuf,
    urls: BTreeMap<String, String>,
}

impl Servers {
    /// Starts both, from installed programs.
    ///
    /// # Panics
    /// If they can't be had.
    #[must_use]
    pub fn start() -> Self {
        remove_older();
        let dir = std::env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let mut servers = Self { dir, urls: BTreeMap::new() };
        servers.up();
        servers
    }

    /// Starts what does not run, where it ran before.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn up(&mut self) {
        let output = self.script("up");
        for line in output.lines().filter_map(|line| line.split_once('=')) {
            self.urls.insert(line.0.to_owned(), line.1.replace('\\', ""));
        }
    }

    fn script(&self, command: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
        let output = Command::new(script)
            .arg(command)
            .env("TURNUP_SERVICES_DIR", &self.dir)
            .env("TURNUP_SERVICES_WAY", "private")
            .env_remove("TURNUP_DATABASE_URL")
            .env_remove("TURNUP_AMQP_URL")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// URL of Postgres.
    ///
    /// # Panics
    /// Never, after [`Self::start`].
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.urls["TURNUP_DATABASE_URL"]
    }

    /// URL of the broker.
    ///
    /// # Panics
    /// Never, after [`Self::start`].
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        &self.urls["TURNUP_AMQP_URL"]
    }

    /// Ends the broker the polite way and starts it again, so that what was declared is on its disk: RabbitMQ
    /// 3.10 that is killed within seconds of a declaration can come back with a queue that has no leader.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn restart_broker(&mut self) {
        let file = self.dir.join("rabbitmq/server.pid");
        end_group("TERM", &file);
        self.up();
    }

    /// kill -9 of the broker, with all its processes.
    pub fn kill_broker(&self) {
        end_group("KILL", &self.dir.join("rabbitmq/server.pid"));
    }

    /// kill -9 of Postgres, with all its processes.
    pub fn kill_database(&self) {
        end_group("KILL", &self.dir.join("postgres/data/postmaster.pid"));
    }
}

/// The process that this file names first.
fn leader(file: &Path) -> u32 {
    let text = std::fs::read_to_string(file).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Ends the process group whose leader is named in this file, and waits for that one to be gone.
fn end_group(signal: &str, file: &Path) {
    let leader = leader(file);
    let group = format!("-{leader}");
    let status = Command::new("kill").args([&format!("-{signal}"), "--", &group]).status().unwrap();
    assert!(status.success(), "there is no process group {group}");
    let begin = Instant::now();
    while Path::new(&format!("/proc/{leader}")).exists() {
        assert!(begin.elapsed() < PATIENCE, "process {leader} does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
        let down = Command::new(script)
            .arg("down")
            .env("TURNUP_SERVICES_DIR", &self.dir)
            .env("TURNUP_SERVICES_WAY", "private")
            .status();
        let _ = down;
        if std::thread::panicking() {
            let dir = self.dir.display();
            eprintln!("the servers' data and logs are in {dir}; to start them again, run:");
            eprintln!("  TURNUP_SERVICES_DIR={dir} TURNUP_SERVICES_WAY=private scripts/services up");
            return;
        }
        remove(&self.dir);
    }
}

fn remove(dir: &Path) {
    // Where the servers' users can't reach a folder of ours, their data is behind a link.
    for server in ["rabbitmq", "postgres"] {
        if let Ok(home) = std::fs::canonicalize(dir.join(server)) {
            let _ = std::fs::remove_dir_all(home);
        }
    }
    let _ = std::fs::remove_dir_all(dir);
}

/// Removes the folders of earlier failed tests, except the newest.
fn remove_older() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let mut over: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let process = name.strip_prefix(FOLDER)?;
            let is_over = !Path::new("/proc").join(process).exists();
            is_over.then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    over.sort();
    let older = over.len().saturating_sub(KEPT);
    for (_, dir) in over.iter().take(older) {
        remove(dir);
    }
}
