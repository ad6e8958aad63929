//! A stop point against a real process: this test program starts itself as the process that stops.

use std::{
    fs::{self, File},
    io::Write as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 5;
/// Threads of the process that compete for the processor with the thread that reaches the point.
const BUSY_THREADS: u32 = 8;

/// Whether every thread of the process is stopped.
fn is_stopped(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    let mut states =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // The state follows the name, which is in parentheses.
    states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends the process whatever the test finds.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn thread_waits_at_its_stop_point_until_the_process_is_continued() {
    let output = std::env::temp_dir().join(format!("turnup-stop-point-{}", std::process::id()));
    for round in 1..=ROUNDS {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process_that_stops", "--ignored"])
            .env("TURNUP_CRASH_POINT", "stop:here")
            .env("TURNUP_STOP_POINT_OUTPUT", &output)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Ended(process);
        let written = || fs::read_to_string(&output).unwrap_or_default();
        until("the process to stop", || is_stopped(process.0.id()));
        assert_eq!(written(), "before\n", "round {round}");
        let continued = Command::new("kill").args(["-CONT", &process.0.id().to_string()]).status().unwrap();
        assert!(continued.success());
        until("the process to end", || process.0.try_wait().unwrap().is_some());
        assert_eq!(written(), "before\nafter\n", "round {round}");
        fs::remove_file(&output).unwrap();
    }
}

#[test]
#[ignore = "the process of the test above"]
fn process_that_stops() {
    let Ok(output) = std::env::var("TURNUP_STOP_POINT_OUTPUT") else { return };
    // The main thread, which would take a signal to the process, is the last to be scheduled.
    let process = std::process::id().to_string();
    let reniced = Command::new("renice").args(["-n", "19", "-p", &process]).stdout(Stdio::null()).status();
    assert!(reniced.unwrap().success());
    for _ in 0..BUSY_THREADS {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    let mut output = File::create(output).unwrap();
    writeln!(output, "before").unwrap();
    turnup_crashpoint::pass("here");
    writeln!(output, "after").unwrap();
}
