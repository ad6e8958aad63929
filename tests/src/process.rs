//! One process of the real binary.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The `turnup` binary that `scripts/build` made.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test>, or target/<profile>/<program>
    let found = test.ancestors().skip(1).take(2).map(|dir| dir.join("turnup")).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("no turnup beside {}; run 'cargo build --workspace --bins' first", test.display())
    })
}

/// A running `turnup`, killed when dropped.
#[derive(Debug)]
pub struct Process {
    /// Name for messages and its log file.
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the binary with these arguments and variables; its output goes to `<dir>/<name>.log`.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(name: &str, dir: &Path, arguments: &[String], variables: &[(String, String)]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(binary())
            .args(arguments)
            .envs(variables.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), child, log }
    }

    /// What it printed and logged so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether SIGSTOP has stopped all of its threads.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else { return false };
        let mut states =
            threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        // The state comes after the name, which is in parentheses.
        states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// kill -9, and waits for it to be gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; then waits for its end.
    ///
    /// # Panics
    /// If it does not end within `patience`.
    pub fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(patience)
    }

    /// Sends a signal by its name.
    ///
    /// # Panics
    /// If there is no `kill` command.
    pub fn signal(&self, signal: &str) {
        Command::new("kill").args([format!("-{signal}"), self.id().to_string()]).status().unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                begin.elapsed() < patience,
                "{} did not end within {patience:?}:\n{}",
                self.name,
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
