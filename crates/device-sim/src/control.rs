//! Control from outside the process: one JSON object a line over TCP on loopback, an answer line each.
//!
//! `{"command":"set_behaviour","device":"sim-a-1","behaviour":{"down":true}}` → `"done"`. The README of the
//! crate has examples of all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::behaviour::Behaviour;
use crate::datastore::Holds;
use crate::device::SimDevice;
use crate::personality::Personality;
use crate::simulator::{Fleet, InventoryEntry, SimulatorError};

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// All devices. Answered with [`Answer::Devices`].
    List,
    /// How a device behaves. Answered with [`Answer::Behaviour`].
    Behaviour {
        /// The device's name.
        device: String,
    },
    /// Changes how a device behaves, see [`SimDevice::set_behaviour`].
    SetBehaviour {
        /// The device's name; `*` for all.
        device: String,
        /// From now on.
        behaviour: Box<Behaviour>,
    },
    /// What a device holds: locks, pending and armed commits. Answered with [`Answer::Holds`].
    Holds {
        /// The device's name.
        device: String,
    },
    /// Changes a device's personality, see [`SimDevice::set_personality`].
    SetPersonality {
        /// The device's name; `*` for all.
        device: String,
        /// The name of the personality.
        personality: String,
    },
    /// The running configuration of a device. Answered with [`Answer::Running`].
    Running {
        /// The device's name.
        device: String,
    },
    /// Sets a leaf of state, see [`SimDevice::set_state`].
    SetState {
        /// The device's name.
        device: String,
        /// Path of the leaf.
        path: String,
        /// Its value; left to the device again if `None`.
        value: Option<String>,
    },
    /// Edits running past NETCONF, as somebody at the console does, see [`SimDevice::edit_running`].
    EditRunning {
        /// The device's name.
        device: String,
        /// `<config>`, `<edit-config>`, or a node of the top of the data tree.
        config: String,
    },
    /// A power cut, see [`SimDevice::reboot`].
    Reboot {
        /// The device's name.
        device: String,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done and is in effect.
    Done,
    /// The devices.
    Devices(Vec<InventoryEntry>),
    /// A behaviour.
    Behaviour(Box<Behaviour>),
    /// What a device holds.
    Holds(Holds),
    /// A running configuration as XML.
    Running(String),
    /// It wasn't done, and why.
    Error(String),
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No connection, or it broke.
    #[error("no answer from the simulator at {address} ({error}): check that it runs with --control")]
    Io {
        /// Where it should be.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Too late.
    #[error(
        "no answer from the simulator at {address} in time: whether the command was carried out is unknown"
    )]
    Timeout {
        /// Where it should be.
        address: SocketAddr,
    },
    /// What came isn't an answer.
    #[error("what answers at {address} isn't a simulator of this version ({reason}): check the address")]
    NotAnAnswer {
        /// Where it should be.
        address: SocketAddr,
        /// In words.
        reason: String,
    },
}

const MAX_COMMAND_BYTES: u64 = 1 << 20;
const MAX_ANSWER_BYTES: u64 = 256 << 20;
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may be silent, and how long an answer may take to be written.
const IO_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept: the usual reason is that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sends one command to a simulator and waits for the answer, at most for `limit`.
///
/// # Errors
/// If there is no answer. That a command failed is an answer: [`Answer::Error`].
pub async fn call(address: SocketAddr, command: &Command, limit: Duration) -> Result<Answer, ControlError> {
    let not_an_answer =
        |error: serde_json::Error| ControlError::NotAnAnswer { address, reason: error.to_string() };
    let mut line = serde_json::to_vec(command).map_err(not_an_answer)?;
    line.push(b'\n');
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_until(b'\n', &mut answer).await?;
        Ok(answer)
    };
    match timeout(limit, exchange).await {
        Ok(Ok(answer)) => serde_json::from_slice(&answer).map_err(not_an_answer),
        Ok(Err(error)) => Err(ControlError::Io { address, error }),
        Err(_) => Err(ControlError::Timeout { address }),
    }
}

/// Listens for commands until dropped.
#[derive(Debug)]
pub(crate) struct ControlServer {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ControlServer {
    pub(crate) async fn start(address: SocketAddr, fleet: Arc<Fleet>) -> Result<Self, SimulatorError> {
        if !address.ip().is_loopback() {
            return Err(SimulatorError::ControlNotLoopback(address));
        }
        let fail = |error| SimulatorError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let task = tokio::spawn(accept(listener, fleet)).abort_handle();
        Ok(Self { address, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, fleet: Arc<Fleet>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ends all connections when this task is ended.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let fleet = fleet.clone();
                connections.spawn(async move {
                    if let Err(error) = serve(stream, &fleet).await {
                        tracing::debug!(%error, "control connection failed");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a control connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, fleet: &Fleet) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_COMMAND_BYTES);
        if timeout(IO_TIMEOUT, bounded.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        let answer = match serde_json::from_slice(&line) {
            _ if !whole => Answer::Error("the command is too long or its line has no end".to_owned()),
            Ok(command) => carry_out(command, fleet).await,
            Err(error) => Answer::Error(format!("this is no command: {error}")),
        };
        let mut bytes = serde_json::to_vec(&answer)?;
        bytes.push(b'\n');
        timeout(IO_TIMEOUT, writer.write_all(&bytes)).await??;
        if !whole {
            return Ok(());
        }
    }
}

async fn carry_out(command: Command, fleet: &Fleet) -> Answer {
    let find = |name: &str| -> Result<&Arc<SimDevice>, String> {
        fleet.devices.get(name).ok_or_else(|| format!("there is no device {name:?}"))
    };
    let done = |result: Result<(), SimulatorError>| match result {
        Ok(()) => Ok(Answer::Done),
        Err(error) => Err(error.to_string()),
    };
    let result = async {
        match command {
            Command::List => {
                Ok(Answer::Devices(fleet.devices.values().map(|device| device.inventory_entry()).collect()))
            }
            Command::Behaviour { device } => Ok(Answer::Behaviour(Box::new(find(&device)?.behaviour()))),
            Command::SetBehaviour { device, behaviour } if device == "*" => {
                for device in fleet.devices.values() {
                    done(device.set_behaviour((*behaviour).clone()).await)?;
                }
                Ok(Answer::Done)
            }
            Command::SetBehaviour { device, behaviour } => {
                done(find(&device)?.set_behaviour(*behaviour).await)
            }
            Command::Holds { device } => Ok(Answer::Holds(find(&device)?.holds())),
            Command::SetPersonality { device, personality } => {
                let personality = Personality::named(&personality).ok_or_else(|| {
                    format!("there is no personality {personality:?}: take one of {}", Personality::names())
                })?;
                if device == "*" {
                    fleet.devices.values().for_each(|device| device.set_personality(personality));
                } else {
                    find(&device)?.set_personality(personality);
                }
                Ok(Answer::Done)
            }
            Command::Running { device } => Ok(Answer::Running(find(&device)?.running_xml())),
            Command::SetState { device, path, value } => {
                done(find(&device)?.set_state(&path, value.as_deref()))
            }
            Command::EditRunning { device, config } => done(find(&device)?.edit_running(&config)),
            Command::Reboot { device } => done(find(&device)?.reboot().await),
        }
    };
    result.await.unwrap_or_else(Answer::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_readme_are_commands() {
        let examples: Vec<&str> =
            include_str!("../README.md").lines().filter(|line| line.starts_with('{')).collect();
        assert!(examples.len() > 10);
        for line in examples {
            let command: Command =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            match command {
                Command::SetState { path, .. } => drop(crate::path::Path::parse(&path).unwrap()),
                Command::EditRunning { config, .. } => drop(crate::request::edit_by_hand(&config).unwrap()),
                _ => {}
            }
        }
    }
}
