//! Starting simulators and talking to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;
use turnup_device_sim::journal::{Record, replay};
use turnup_device_sim::{DeviceSpec, Options, Personality, SimDevice, Simulator};
use turnup_netconf::message::{Reply, RpcErrors};
use turnup_netconf::operation::{
    ConfirmedCommit, Datastore, EditConfig, ErrorOption, Filter, Operation, TestOption,
};
use turnup_netconf::ssh::{self, ConnectError, Credentials, PinnedHostKey, Session, Target};
use turnup_netconf::xml::{Element, Limits, parse_str};

pub(crate) const PASSWORD: &str = "secret-of-the-test";
pub(crate) const SIM: &str = "urn:turnup:sim";

/// A directory that is removed at the end of the test.
pub(crate) struct StateDirectory(PathBuf);

impl StateDirectory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("device-sim-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A simulator with one device `sim-a-1`.
pub(crate) struct One {
    pub(crate) simulator: Simulator,
    pub(crate) device: Arc<SimDevice>,
    pub(crate) directory: StateDirectory,
}

impl One {
    pub(crate) async fn start() -> Self {
        Self::start_in(StateDirectory::new()).await
    }

    /// With a device of this personality.
    pub(crate) async fn start_as(personality: Personality) -> Self {
        Self::start_as_in(StateDirectory::new(), personality).await
    }

    pub(crate) async fn start_as_in(directory: StateDirectory, personality: Personality) -> Self {
        let devices = DeviceSpec::many("a", 1, 0).into_iter();
        let devices = devices.map(|device| device.with_personality(personality)).collect();
        let simulator = start(&directory, devices).await;
        let device = simulator.device("sim-a-1").unwrap();
        Self { simulator, device, directory }
    }

    pub(crate) async fn start_in(directory: StateDirectory) -> Self {
        let simulator = start(&directory, DeviceSpec::many("a", 1, 0)).await;
        let device = simulator.device("sim-a-1").unwrap();
        Self { simulator, device, directory }
    }

    pub(crate) async fn connect(&self) -> Session {
        connect(&self.device).await.unwrap()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        kinds(&self.simulator.journal().unwrap())
    }

    /// Whether the journal says of the device what it says itself.
    pub(crate) fn assert_journal_agrees(&self) {
        let records = self.simulator.journal().unwrap();
        let replayed = replay(&records).remove("sim-a-1").unwrap_or_default();
        assert_eq!(replayed, self.device.running());
    }
}

pub(crate) fn kinds(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| serde_json::to_value(record.kind).unwrap().as_str().unwrap().to_owned())
        .collect()
}

pub(crate) async fn start(directory: &StateDirectory, devices: Vec<DeviceSpec>) -> Simulator {
    try_start(directory, devices).await.unwrap()
}

pub(crate) async fn try_start(
    directory: &StateDirectory,
    devices: Vec<DeviceSpec>,
) -> Result<Simulator, turnup_device_sim::SimulatorError> {
    Simulator::start(Options::new(devices, directory.path(), SecretString::from(PASSWORD))).await
}

pub(crate) async fn connect(device: &SimDevice) -> Result<Session, ConnectError> {
    connect_with(device, &ssh::Options::default()).await
}

pub(crate) async fn connect_with(
    device: &SimDevice,
    options: &ssh::Options,
) -> Result<Session, ConnectError> {
    let entry = device.inventory_entry();
    let target = Target::new(entry.address, entry.port);
    let key: PinnedHostKey = entry.host_key.parse().unwrap();
    let credentials = Credentials::password("ncdev", SecretString::from(PASSWORD));
    ssh::connect(&target, &credentials, &key, options).await
}

/// Far enough away not to matter.
pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) async fn ok(session: &mut Session, operation: &Operation) -> Reply {
    result(session, operation).await.unwrap()
}

pub(crate) async fn result(session: &mut Session, operation: &Operation) -> Result<Reply, RpcErrors> {
    session.rpc(operation, later()).await.unwrap().into_result()
}

/// The tag of the first error of an answer.
pub(crate) async fn tag(session: &mut Session, operation: &Operation) -> String {
    let errors = result(session, operation).await.unwrap_err();
    errors.errors().next().unwrap().tag.as_str().to_owned()
}

pub(crate) fn parse(xml: &str) -> Element {
    parse_str(xml, &Limits::default()).unwrap()
}

/// An edit that makes an interface with a unit and a pseudowire on it.
pub(crate) fn line(number: u32) -> Operation {
    edit(&[
        &format!(
            "<interfaces xmlns='{SIM}'><interface><name>ge-0</name><unit><id>{number}</id>\
             <vlan-id>{number}</vlan-id></unit></interface></interfaces>"
        ),
        &format!(
            "<pseudowires xmlns='{SIM}'><pseudowire><name>p{number}</name><vc-id>{number}</vc-id>\
             <peer>x</peer><interface>ge-0</interface><unit>{number}</unit></pseudowire></pseudowires>"
        ),
    ])
}

/// An edit that sets the MTU of ge-0.
pub(crate) fn mtu(mtu: u32) -> Operation {
    edit(&[&format!(
        "<interfaces xmlns='{SIM}'><interface><name>ge-0</name><mtu>{mtu}</mtu></interface></interfaces>"
    )])
}

pub(crate) fn edit(content: &[&str]) -> Operation {
    let content = content.iter().map(|xml| parse(xml));
    Operation::edit_config(EditConfig {
        test_option: Some(TestOption::TestThenSet),
        error_option: Some(ErrorOption::RollbackOnError),
        ..EditConfig::new(Datastore::Candidate, content)
    })
}

pub(crate) fn provisional(confirm_timeout_s: u32, persist: Option<&str>) -> Operation {
    Operation::commit_confirmed(&ConfirmedCommit {
        confirm_timeout_s,
        persist: persist.map(str::to_owned),
        persist_id: None,
    })
}

/// The MTU of ge-0 in running, as a client reads it.
pub(crate) async fn read_mtu(session: &mut Session) -> Option<String> {
    let filter = Filter::Subtree(vec![parse(&format!(
        "<interfaces xmlns='{SIM}'><interface><name>ge-0</name><mtu/></interface></interfaces>"
    ))]);
    let reply = ok(session, &Operation::get_config(Datastore::Running, Some(&filter))).await;
    let data = reply.into_data().unwrap();
    let interface = data.child(SIM, "interfaces")?.own_child("interface")?;
    interface.own_child("mtu").map(|mtu| mtu.text().into_owned())
}

/// Polls a condition until it holds, at most for ten seconds.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
