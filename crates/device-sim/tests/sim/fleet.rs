//! Many devices, and control from outside.

use std::time::Duration;

use secrecy::SecretString;
use turnup_device_sim::behaviour::Behaviour;
use turnup_device_sim::control::{Answer, Command, call};
use turnup_device_sim::journal::replay;
use turnup_device_sim::schema::REVISION;
use turnup_device_sim::{DeviceSpec, Options, Simulator, SimulatorError};
use turnup_netconf::operation::{Filter, Operation};

use crate::device::{
    One, PASSWORD, SIM, StateDirectory, connect, later, line, ok, parse, provisional, start, tag,
};

#[tokio::test]
async fn two_hundred_devices_at_once() {
    let directory = StateDirectory::new();
    let devices = [DeviceSpec::many("a", 100, 0), DeviceSpec::many("b", 100, 0)].concat();
    let simulator = start(&directory, devices).await;
    let inventory = simulator.inventory();
    assert_eq!(inventory.len(), 200);
    let mut keys: Vec<&str> = inventory.iter().map(|entry| entry.host_key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 200, "every device has its own host key");

    let mut clients = tokio::task::JoinSet::new();
    // All are open at the same time before the first goes on.
    let all_open = std::sync::Arc::new(tokio::sync::Barrier::new(200));
    for device in simulator.devices() {
        let device = device.clone();
        let all_open = all_open.clone();
        clients.spawn(async move {
            let options = turnup_netconf::ssh::Options {
                connect_timeout: Duration::from_secs(60),
                ..Default::default()
            };
            let mut session = crate::device::connect_with(&device, &options).await.unwrap();
            all_open.wait().await;
            ok(&mut session, &line(100)).await;
            ok(&mut session, &provisional(60, Some(device.name()))).await;
            ok(&mut session, &Operation::commit_confirming(device.name())).await;
            session.close(later()).await;
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let records = simulator.journal().unwrap();
    assert_eq!(records.len(), 400);
    let replayed = replay(&records);
    for device in simulator.devices() {
        assert_eq!(replayed[device.name()], device.running());
        assert_eq!(device.running().len(), 8);
    }
}

#[tokio::test]
async fn serves_its_module_and_its_state() {
    let one = One::start().await;
    let mut session = one.connect().await;
    let capabilities = session.capabilities();
    assert!(capabilities.confirmed_commit_1_1() && capabilities.monitoring());
    assert_eq!(capabilities.modules()[0].name, "turnup-sim");
    let reply = ok(&mut session, &Operation::get_schema("turnup-sim", Some(REVISION))).await;
    assert!(reply.data().unwrap().text().starts_with("module turnup-sim {"));
    assert_eq!(tag(&mut session, &Operation::get_schema("ietf-interfaces", None)).await, "invalid-value");

    ok(&mut session, &line(7)).await;
    ok(&mut session, &Operation::commit()).await;
    let monitoring = turnup_netconf::namespace::MONITORING;
    let filter = Filter::Subtree(vec![
        parse(&format!("<pseudowires xmlns='{SIM}'><pseudowire><state/></pseudowire></pseudowires>")),
        parse(&format!("<netconf-state xmlns='{monitoring}'><schemas/></netconf-state>")),
    ]);
    let read = async |session: &mut turnup_netconf::ssh::Session| {
        ok(session, &Operation::get(Some(&filter))).await.into_data().unwrap().to_xml()
    };
    let data = read(&mut session).await;
    assert!(data.contains("<name>p7</name><state>up</state>") && data.contains("<identifier>turnup-sim<"));
    one.device.set_state("/pseudowires/pseudowire[name='p7']/state", Some("down")).unwrap();
    assert!(read(&mut session).await.contains("<state>down</state>"));
    assert!(one.device.set_state("/pseudowires/pseudowire[name='p7']/peer", Some("x")).is_err());
}

#[tokio::test]
async fn control_from_outside() {
    let directory = StateDirectory::new();
    let mut options =
        Options::new(DeviceSpec::many("a", 2, 0), directory.path(), SecretString::from(PASSWORD));
    options.control = Some("127.0.0.1:0".parse().unwrap());
    let simulator = Simulator::start(options).await.unwrap();
    let address = simulator.control_address().unwrap();
    let send = async |command: Command| call(address, &command, Duration::from_secs(10)).await.unwrap();
    let name = "sim-a-1".to_owned();

    assert_eq!(send(Command::List).await, Answer::Devices(simulator.inventory()));
    let device = simulator.device(&name).unwrap();
    let mut session = connect(&device).await.unwrap();
    ok(&mut session, &line(3)).await;
    ok(&mut session, &Operation::commit()).await;
    match send(Command::Running { device: name.clone() }).await {
        Answer::Running(xml) => assert!(xml.contains("<vlan-id>3</vlan-id>"), "{xml}"),
        other => panic!("{other:?}"),
    }
    let path = "/interfaces/interface[name='ge-0']/oper-status".to_owned();
    let set = Command::SetState { device: name.clone(), path, value: Some("down".to_owned()) };
    assert_eq!(send(set).await, Answer::Done);
    let status = ok(&mut session, &Operation::get(None)).await.into_data().unwrap().to_xml();
    assert!(status.contains("<oper-status>down</oper-status>"));

    let down = Box::new(Behaviour { down: true, ..Behaviour::default() });
    assert_eq!(
        send(Command::SetBehaviour { device: "*".to_owned(), behaviour: down.clone() }).await,
        Answer::Done
    );
    assert!(connect(&device).await.is_err());
    assert_eq!(send(Command::Behaviour { device: name.clone() }).await, Answer::Behaviour(down));
    let up = Box::default();
    assert_eq!(send(Command::SetBehaviour { device: name.clone(), behaviour: up }).await, Answer::Done);
    assert_eq!(send(Command::Reboot { device: name }).await, Answer::Done);
    assert!(connect(&device).await.is_ok());
    assert!(matches!(send(Command::Reboot { device: "x".to_owned() }).await, Answer::Error(_)));

    let other = StateDirectory::new();
    let mut options = Options::new(Vec::new(), other.path(), SecretString::from(PASSWORD));
    options.control = Some("0.0.0.0:0".parse().unwrap());
    let error = Simulator::start(options).await.unwrap_err();
    assert!(matches!(error, SimulatorError::ControlNotLoopback(_)), "{error}");
}
