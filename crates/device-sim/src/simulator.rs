//! Many devices in one process, and what they leave on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use turnup_netconf::server;
use uuid::Uuid;

use crate::behaviour::Behaviour;
use crate::control::ControlServer;
use crate::datastore::{Datastores, Kind, SessionId};
use crate::device::{Shared, SimDevice};
use crate::journal::{Journal, JournalError, Record, Restored, restore, rollback};
use crate::leaves::Change;
use crate::network::{Network, bind};
use crate::path::{Path, PathError};
use crate::personality::{CommitWhilePending, Persistence, Personality};

/// What to simulate.
#[derive(Debug)]
pub struct Options {
    /// The devices; their names must be different.
    pub devices: Vec<DeviceSpec>,
    /// Where they listen. Default 127.0.0.1.
    pub listen: IpAddr,
    /// The directory for host keys and journal; made if it isn't there. One simulator at a time.
    pub state: PathBuf,
    /// Who may log in. Default `ncdev`.
    pub username: String,
    /// The password, if one is to be accepted.
    pub password: Option<SecretString>,
    /// Public keys that are accepted, as lines of an `authorized_keys` file without options.
    pub authorized_keys: Vec<String>,
    /// How many ports a device has from the factory: interfaces `ge-0/0/0`, `ge-0/0/1` and so on, in running
    /// when the device starts for the first time, that is if the journal knows nothing of it. Default 0.
    pub ports: u16,
    /// How all devices behave at first.
    pub behaviour: Behaviour,
    /// Where to listen for [`control`](crate::control), if at all. Only loopback addresses.
    pub control: Option<SocketAddr>,
}

impl Options {
    /// Devices with a state directory and a password; the rest as by default.
    pub fn new(devices: Vec<DeviceSpec>, state: impl Into<PathBuf>, password: SecretString) -> Self {
        Self {
            devices,
            listen: Ipv4Addr::LOCALHOST.into(),
            state: state.into(),
            username: "ncdev".to_owned(),
            password: Some(password),
            authorized_keys: Vec::new(),
            ports: 0,
            behaviour: Behaviour::default(),
            control: None,
        }
    }
}

/// A device to simulate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its TCP port; 0 for one that the system chooses at every start.
    pub port: u16,
    /// How it differs from the standard.
    pub personality: Personality,
}

impl DeviceSpec {
    /// `count` devices `sim-<region>-<n>`, n from 1, on ports from `first_port` on; on ports that the
    /// system chooses if that is 0. Ports beyond 65535 become such too.
    pub fn many(region: &str, count: u16, first_port: u16) -> Vec<Self> {
        let device = |n: u16| Self {
            name: format!("sim-{region}-{}", u32::from(n) + 1),
            region: region.to_owned(),
            port: if first_port == 0 { 0 } else { first_port.checked_add(n).unwrap_or(0) },
            personality: Personality::DEFAULT,
        };
        (0..count).map(device).collect()
    }

    /// The same device with this personality.
    #[must_use]
    pub fn with_personality(self, personality: Personality) -> Self {
        Self { personality, ..self }
    }
}

/// What an inventory needs to know of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// `sim`.
    pub platform: String,
    /// IP address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// Its host key as OpenSSH writes it, to be pinned: `ssh-ed25519 AAAA…`.
    pub host_key: String,
}

/// Why the simulator can't do something.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// An address can't be listened on.
    #[error("can't listen on {address} ({error}): choose other ports, or end what uses them")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The state directory can't be used.
    #[error("the state directory {path} can't be used ({error}): check that it can be written to")]
    Directory {
        /// The directory or a file in it.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another simulator uses the state directory.
    #[error("another simulator uses the state directory {path}: end it or choose another directory")]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Two devices have the same name.
    #[error("there are two devices named {0}: name them differently")]
    DuplicateName(String),
    /// The control interface may be on loopback only, since it asks for no password.
    #[error("{0} isn't a loopback address: the control interface has no password, use 127.0.0.1 or ::1")]
    ControlNotLoopback(SocketAddr),
    /// An edit by hand isn't carried out.
    #[error("the edit wasn't made ({0}): correct it, or wait until no session holds the lock of running")]
    Edit(String),
    /// A leaf of state can't be set.
    #[error("{0}: see the YANG module for leaves with config false and their values")]
    State(String),
}

/// Simulated devices. Dropping it is a power cut; [`Simulator::shutdown`] is the same in order.
#[derive(Debug)]
pub struct Simulator {
    fleet: Arc<Fleet>,
    control: Option<ControlServer>,
    state: PathBuf,
    /// Locked as long as the simulator lives.
    _lock: File,
}

/// The devices of a simulator, by name.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) devices: BTreeMap<String, Arc<SimDevice>>,
    shared: Arc<Shared>,
}

impl Fleet {
    /// Cuts all connections; nothing changes any more.
    fn stop(&self) {
        // First, so that what comes next finds the journal complete.
        self.shared.journal.close();
        for device in self.devices.values() {
            // A device that is just changing how it behaves is seen to when the last of the fleet is dropped.
            if let Ok(mut network) = device.network.try_lock() {
                *network = Network::Off;
            }
        }
    }
}

/// A device that listens owns itself through its listener, so letting go of it isn't enough.
impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.control = None;
        self.fleet.stop();
    }
}

impl Simulator {
    /// Starts the devices with the running configurations that the journal in the state directory has for
    /// them. A confirmed commit that was pending when the last simulator ended is taken back, as a device
    /// does that had a power cut. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If a port can't be listened on or the state directory can't be used; then nothing is left running.
    pub async fn start(options: Options) -> Result<Self, SimulatorError> {
        let Options {
            devices,
            listen,
            state,
            username,
            password,
            authorized_keys,
            ports,
            behaviour,
            control,
        } = options;
        // One socket per device and one per session; the usual soft limit is 1,024.
        match rlimit::increase_nofile_limit(u64::MAX) {
            Ok(limit) => tracing::debug!(limit, "limit of open files"),
            Err(error) => tracing::warn!(%error, "can't raise the limit of open files"),
        }
        let lock = prepare_directory(&state)?;
        let secret = secret(&state)?;
        let keeps_timer: BTreeSet<&str> = devices
            .iter()
            .filter(|device| device.personality.commit_while_pending == CommitWhilePending::AnyKeepsTimer)
            .map(|device| device.name.as_str())
            .collect();
        let (mut restored, last_seq) = restore(&state, |device| keeps_timer.contains(device))?;
        let journal = Journal::open(&state, last_seq)?;
        let shared = Arc::new(Shared {
            journal,
            username,
            password,
            authorized_keys: authorized_keys.iter().map(|line| without_comment(line)).collect(),
            server: Arc::new(server::Options::default()),
            secret,
        });
        let factory = factory(ports)?;
        let mut fleet = Fleet { devices: BTreeMap::new(), shared: shared.clone() };
        for DeviceSpec { name, region, port, personality } in devices {
            if fleet.devices.contains_key(&name) {
                return Err(SimulatorError::DuplicateName(name));
            }
            let (socket, address) = bind(SocketAddr::new(listen, port))?;
            let known = restored.remove(&name);
            let is_new = known.is_none();
            let Restored { running, boots, pending, unsaved } = known.unwrap_or_default();
            let mut datastores = Datastores::new(running).with_personality(personality);
            if is_new && !factory.is_empty() {
                let by_hand = SessionId::by_hand(boots);
                shared.journal.append(&name, by_hand, Kind::Committed, None, &factory)?;
                datastores.restore(&factory);
                if personality.persistence != Persistence::Running {
                    shared.journal.append(&name, by_hand, Kind::Saved, None, &[])?;
                }
            }
            if personality.persistence != Persistence::Running {
                let changes = rollback(&unsaved, datastores.running());
                if pending.is_some() || !changes.is_empty() {
                    let session =
                        pending.as_ref().map_or(SessionId::by_hand(boots), |pending| pending.session);
                    let persist = pending.as_ref().and_then(|pending| pending.persist.as_deref());
                    shared.journal.append(&name, session, Kind::Reverted, persist, &changes)?;
                    datastores.restore(&changes);
                }
            } else if let Some(pending) = pending {
                let changes = rollback(&pending.undo, datastores.running());
                let persist = pending.persist.as_deref();
                shared.journal.append(&name, pending.session, Kind::Reverted, persist, &changes)?;
                datastores.restore(&changes);
            }
            let network = Network::Down(socket);
            let device =
                SimDevice::new(name.clone(), region, shared.clone(), datastores, boots, network, address);
            fleet.devices.insert(name, Arc::new(device));
        }
        for device in fleet.devices.values() {
            device.set_behaviour(behaviour.clone()).await?;
        }
        let fleet = Arc::new(fleet);
        let control = match control {
            Some(address) => Some(ControlServer::start(address, fleet.clone()).await?),
            None => None,
        };
        tracing::info!(devices = fleet.devices.len(), "simulated devices are up");
        Ok(Self { fleet, control, state, _lock: lock })
    }

    /// A device by its name.
    pub fn device(&self, name: &str) -> Option<Arc<SimDevice>> {
        self.fleet.devices.get(name).cloned()
    }

    /// All devices, by name.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<SimDevice>> {
        self.fleet.devices.values()
    }

    /// All devices as an inventory needs them.
    pub fn inventory(&self) -> Vec<InventoryEntry> {
        self.devices().map(|device| device.inventory_entry()).collect()
    }

    /// Where the control interface listens.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(ControlServer::address)
    }

    /// All records of the journal so far.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn journal(&self) -> Result<Vec<Record>, JournalError> {
        Journal::read(&self.state)
    }

    /// Ends all devices as a power cut does: connections are cut, nothing is confirmed or taken back.
    /// When this returns, the journal is final and every port is free.
    pub async fn shutdown(mut self) {
        self.control = None;
        self.fleet.shared.journal.close();
        for device in self.fleet.devices.values() {
            let mut network = device.network.lock().await;
            // Going down waits until the listener is gone.
            if let Err(error) = network.go_down(device).await {
                tracing::warn!(device = device.name(), %error, "the port isn't free yet");
            }
            *network = Network::Off;
        }
    }
}

/// What makes an empty configuration that of a device from the factory.
fn factory(ports: u16) -> Result<Vec<Change>, SimulatorError> {
    let port = |number| {
        let name = format!("ge-0/0/{number}");
        let path = Path::parse(&format!("/interfaces/interface[name='{name}']/name"))?;
        Ok(Change { path, old: None, new: Some(name.into()) })
    };
    let changes: Result<Vec<Change>, PathError> = (0..ports).map(port).collect();
    changes.map_err(|error| SimulatorError::State(error.to_string()))
}

fn without_comment(key: &str) -> String {
    key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Makes the state directory and locks it.
fn prepare_directory(path: &FilePath) -> Result<File, SimulatorError> {
    let fail = |error| SimulatorError::Directory { path: path.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(fail)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SimulatorError::DirectoryInUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// The secret that the host keys are made from; chosen at the first start and kept.
fn secret(directory: &FilePath) -> Result<[u8; 32], SimulatorError> {
    let path = directory.join("host-key-secret");
    let fail = |error| SimulatorError::Directory { path: path.clone(), error };
    if !path.try_exists().map_err(fail)? {
        let mut text = String::new();
        for _ in 0..2 {
            text.push_str(&Uuid::new_v4().simple().to_string());
        }
        // Under another name first: a crash must not leave half a secret.
        let unfinished = path.with_extension("new");
        let write = || {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(fail)?;
    }
    let text = std::fs::read(&path).map_err(fail)?;
    Ok(Sha256::digest(&text).into())
}

#[cfg(test)]
mod tests {
    use turnup_netconf::server::{Device, Proof};

    use super::*;

    #[tokio::test]
    async fn logs_in_who_the_options_say() {
        let directory = std::env::temp_dir().join(format!("device-sim-login-{}", std::process::id()));
        let mut options =
            Options::new(DeviceSpec::many("a", 1, 0), &directory, SecretString::from("a password"));
        options.authorized_keys = vec!["ssh-ed25519 AAAAB someone@somewhere\n".to_owned()];
        let simulator = Simulator::start(options).await.unwrap();
        let device = simulator.device("sim-a-1").unwrap().next_boot();
        let accepts = |username, proof| device.authenticate(username, proof);
        assert!(accepts("ncdev", Proof::Password("a password")));
        assert!(accepts("ncdev", Proof::PublicKey("ssh-ed25519 AAAAB")));
        assert!(!accepts("root", Proof::Password("a password")));
        assert!(!accepts("ncdev", Proof::Password("")));
        assert!(!accepts("ncdev", Proof::PublicKey("ssh-ed25519 AAAAC")));
        drop(simulator);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn names_and_ports_count_up() {
        let devices = DeviceSpec::many("ams", 2, 65535);
        let names: Vec<_> = devices.iter().map(|d| (d.name.as_str(), d.port)).collect();
        assert_eq!(names, [("sim-ams-1", 65535), ("sim-ams-2", 0)]);
    }
}
