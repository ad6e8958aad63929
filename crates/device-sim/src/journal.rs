//! The journal: what happened to the running configuration of every device, one JSON object a line.
//!
//! A record is handed to the operating system before the request is answered that caused it, so it outlives
//! the process (not the machine). Records of one device are in the order of their effect. A request that was
//! answered without changing anything in truth has no record.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::datastore::{Kind, SessionId};
use crate::leaves::{Change, Leaves};
use crate::path::{Path, PathError};

/// Name of the journal in the state directory.
pub const FILE_NAME: &str = "journal.jsonl";

/// The longest line that is read back. One commit can change as much as one request can hold, which is less.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// One thing that happened to a running configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the records of all devices, from 1, also over restarts.
    pub seq: u64,
    /// When, by the wall clock.
    pub time: Timestamp,
    /// The device's name.
    pub device: String,
    /// How many times the device had started before; session numbers begin anew with it.
    pub boot: u32,
    /// The session that did it; for what was taken back by itself, the session that had made it; 0 for what
    /// came past NETCONF: edits by hand, and the ports from the factory.
    pub session: u32,
    /// What happened.
    pub kind: Kind,
    /// The token of the confirmed commit that this begins or ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<String>,
    /// The leaves that changed, in order; empty if the commit found everything as it wanted it.
    pub changes: Vec<LeafChange>,
}

/// One leaf that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafChange {
    /// Which, such as `/interfaces/interface[name='ge-0']/mtu`; in key values, `&` and `'` are written
    /// `&amp;` and `&apos;`. Key leaves stand for their list entries.
    pub path: String,
    /// The value before, if the leaf was there.
    pub old: Option<Box<str>>,
    /// The value after, if the leaf is there.
    pub new: Option<Box<str>>,
}

/// Why the journal can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file can't be read or written.
    #[error("the journal {path} can't be used ({error}): check the state directory and the free space")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line isn't a record.
    #[error(
        "line {line} of {path} is no record ({reason}): restore the journal, or begin with an empty directory"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// In words.
        reason: String,
    },
    /// The journal was closed by a shutdown.
    #[error("the journal is closed: the simulator is shutting down")]
    Closed,
}

/// The journal of a running simulator.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<Option<Writing>>,
}

#[derive(Debug)]
struct Writing {
    file: File,
    length: u64,
    last_seq: u64,
    line: Vec<u8>,
}

/// What is written, borrowed.
#[derive(Serialize)]
struct Line<'r> {
    seq: u64,
    time: Timestamp,
    device: &'r str,
    boot: u32,
    session: u32,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    persist: Option<&'r str>,
    changes: Changes<'r>,
}

struct Changes<'r>(&'r [Change]);

impl Serialize for Changes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Leaf<'r> {
            path: String,
            old: Option<&'r str>,
            new: Option<&'r str>,
        }
        serializer.collect_seq(self.0.iter().map(|change| Leaf {
            path: change.path.to_string(),
            old: change.old.as_deref(),
            new: change.new.as_deref(),
        }))
    }
}

impl Journal {
    /// Opens the journal in a directory, making it if need be. What a crash left unfinished at its end is
    /// cut off: no request was answered for it. `last_seq` is that of the last record of
    /// [`Journal::read`].
    pub(crate) fn open(directory: &FilePath, last_seq: u64) -> Result<Self, JournalError> {
        let path = directory.join(FILE_NAME);
        let open = || {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            let end = end_of_lines(&mut file)?;
            file.set_len(end)?;
            Ok(Writing { file, length: end, last_seq, line: Vec::new() })
        };
        let writing = open().map_err(|error| JournalError::Io { path: path.clone(), error })?;
        Ok(Self { path, file: Mutex::new(Some(writing)) })
    }

    /// Appends a record; when this returns, it outlives the process.
    pub(crate) fn append(
        &self,
        device: &str,
        session: SessionId,
        kind: Kind,
        persist: Option<&str>,
        changes: &[Change],
    ) -> Result<u64, JournalError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let writing = file.as_mut().ok_or(JournalError::Closed)?;
        let line = Line {
            seq: writing.last_seq + 1,
            time: Timestamp::now(),
            device,
            boot: session.boot,
            session: session.number,
            kind,
            persist,
            changes: Changes(changes),
        };
        writing.line.clear();
        let written =
            serde_json::to_writer(&mut writing.line, &line).map_err(std::io::Error::from).and_then(|()| {
                writing.line.push(b'\n');
                writing.write_line()
            });
        written.map_err(|error| JournalError::Io { path: self.path.clone(), error })?;
        writing.last_seq += 1;
        Ok(writing.last_seq)
    }

    /// Refuses every further record, so that nothing can be written behind the back of whoever reads it as
    /// final.
    pub(crate) fn close(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Reads the journal of a state directory, also while a simulator writes it: what isn't whole at its
    /// end isn't there yet. Without journal, there are no records.
    ///
    /// # Errors
    /// If the file can't be read or a line isn't a record.
    pub fn read(directory: impl AsRef<FilePath>) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::new();
        Self::for_each(directory.as_ref(), |record| {
            records.push(record);
            Ok(())
        })?;
        Ok(records)
    }

    pub(crate) fn for_each(
        directory: &FilePath,
        mut each: impl FnMut(Record) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let path = directory.join(FILE_NAME);
        let io = |error| JournalError::Io { path: path.clone(), error };
        let mut reader = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(io)?;
            let corrupt = |reason| JournalError::Corrupt { path: path.clone(), line: number, reason };
            if line.last() != Some(&b'\n') {
                let too_long = line.len() as u64 == MAX_LINE_BYTES;
                return if too_long { Err(corrupt("too long".to_owned())) } else { Ok(()) };
            }
            let record = serde_json::from_slice(&line).map_err(|error| corrupt(error.to_string()))?;
            each(record).map_err(corrupt)?;
        }
        Ok(())
    }
}

impl Writing {
    /// Writes the line in whole or not at all.
    fn write_line(&mut self) -> std::io::Result<()> {
        let written = self.file.write_all(&self.line);
        match written {
            Ok(()) => self.length += self.line.len() as u64,
            // If even this fails, the journal is found corrupt at the next start, which is better than silence.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        written
    }
}

/// Where the last whole line ends.
fn end_of_lines(file: &mut File) -> std::io::Result<u64> {
    const BLOCK_BYTES: u64 = 64 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The running configuration of every device after these records, by name of the device and path of the
/// leaf. With the records up to a moment, it is that of the moment.
pub fn replay<'r>(
    records: impl IntoIterator<Item = &'r Record>,
) -> BTreeMap<String, BTreeMap<String, Box<str>>> {
    let mut devices: BTreeMap<String, BTreeMap<String, Box<str>>> = BTreeMap::new();
    for record in records {
        let leaves = devices.entry(record.device.clone()).or_default();
        for change in &record.changes {
            match &change.new {
                Some(value) => leaves.insert(change.path.clone(), value.clone()),
                None => leaves.remove(&change.path),
            };
        }
    }
    devices
}

/// How often a leaf of a device was changed to a value (`None`: removed) in these records. More than once
/// means that something was done again in effect, after it had been undone.
pub fn times_changed_to<'r>(
    records: impl IntoIterator<Item = &'r Record>,
    device: &str,
    path: &str,
    value: Option<&str>,
) -> usize {
    records
        .into_iter()
        .filter(|record| record.device == device)
        .flat_map(|record| &record.changes)
        .filter(|change| change.path == path && change.new.as_deref() == value)
        .count()
}

/// What the journal says about a device at its start.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) running: Leaves,
    /// Starts so far.
    pub(crate) boots: u32,
    /// The confirmed commit that was pending.
    pub(crate) pending: Option<RestoredPending>,
    /// What running held when it was last saved, of all that changed since.
    pub(crate) unsaved: BTreeMap<Path, Option<Box<str>>>,
}

/// A confirmed commit that was pending when the simulator ended.
#[derive(Debug)]
pub(crate) struct RestoredPending {
    pub(crate) session: SessionId,
    pub(crate) persist: Option<String>,
    /// What running held before.
    pub(crate) undo: BTreeMap<Path, Option<Box<str>>>,
}

/// Reads the journal for a start: all devices that are in it, and the last number. Of a device that
/// `forgets_backups`, a commit while another is pending ends what that one could be taken back to.
pub(crate) fn restore(
    directory: &FilePath,
    forgets_backups: impl Fn(&str) -> bool,
) -> Result<(HashMap<String, Restored>, u64), JournalError> {
    let mut devices: HashMap<String, Restored> = HashMap::new();
    let mut last_seq = 0;
    Journal::for_each(directory, |record| {
        last_seq = record.seq;
        let Record { device, boot, session, kind, persist, changes, .. } = record;
        let forgets = kind == Kind::Committed && forgets_backups(&device);
        let restored = devices.entry(device).or_default();
        restored.boots = restored.boots.max(boot + 1);
        let changes: Vec<Change> =
            changes.into_iter().map(Change::try_from).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        if matches!(kind, Kind::Provisional | Kind::Armed) {
            let session = SessionId { boot, number: session };
            let undo = restored.pending.take().map(|pending| pending.undo).unwrap_or_default();
            restored.pending = Some(RestoredPending { session, persist, undo });
        } else if kind == Kind::Saved {
            restored.unsaved.clear();
        } else if kind != Kind::Committed || forgets {
            restored.pending = None;
        }
        for Change { path, old, new } in changes {
            match new {
                Some(value) => restored.running.insert(path.clone(), value),
                None => restored.running.remove(&path),
            };
            if let Some(pending) = &mut restored.pending {
                pending.undo.entry(path.clone()).or_insert_with(|| old.clone());
            }
            restored.unsaved.entry(path).or_insert(old);
        }
        Ok(())
    })?;
    Ok((devices, last_seq))
}

/// What making running what it was changes.
pub(crate) fn rollback(undo: &BTreeMap<Path, Option<Box<str>>>, running: &Leaves) -> Vec<Change> {
    let change = |(path, new): (&Path, &Option<Box<str>>)| Change {
        path: path.clone(),
        old: running.get(path).cloned(),
        new: new.clone(),
    };
    undo.iter().map(change).filter(|change| change.old != change.new).collect()
}

impl TryFrom<LeafChange> for Change {
    type Error = PathError;

    fn try_from(change: LeafChange) -> Result<Self, PathError> {
        Ok(Self { path: Path::parse(&change.path)?, old: change.old, new: change.new })
    }
}
