//! What a simulator that starts again on the same directory knows.

use std::io::Write;

use turnup_device_sim::journal::{FILE_NAME, Journal, JournalError};
use turnup_device_sim::{DeviceSpec, SimulatorError};
use turnup_netconf::operation::Operation;

use crate::device::{
    One, StateDirectory, connect, kinds, line, mtu, ok, provisional, read_mtu, start, tag, try_start,
};

#[tokio::test]
async fn a_restart_is_a_power_cut() {
    let one = One::start().await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &line(100)).await;
    ok(&mut session, &Operation::commit()).await;
    ok(&mut session, &mtu(9000)).await;
    ok(&mut session, &provisional(600, Some("token"))).await;
    ok(&mut session, &line(200)).await;
    let host_key = one.device.host_key();
    let One { simulator, directory, device } = one;
    simulator.shutdown().await;
    assert_eq!(kinds(&Journal::read(directory.path()).unwrap()), ["committed", "provisional"]);
    drop(device);

    let one = One::start_in(directory).await;
    assert_eq!(one.device.host_key(), host_key);
    let records = one.simulator.journal().unwrap();
    assert_eq!(kinds(&records), ["committed", "provisional", "reverted"]);
    assert!(records.iter().map(|record| record.seq).eq(1..=3));
    assert_eq!(records[2].persist.as_deref(), Some("token"));
    one.assert_journal_agrees();
    let mut session = one.connect().await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
    assert_eq!(tag(&mut session, &Operation::commit_confirming("token")).await, "invalid-value");
    // References are known again: a unit in use can't go.
    let remove = "<interfaces xmlns='urn:turnup:sim' \
                  xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0'><interface><name>ge-0</name>\
                  <unit nc:operation='remove'><id>100</id></unit></interface></interfaces>";
    assert_eq!(tag(&mut session, &crate::device::edit(&[remove])).await, "operation-failed");
    let boots = records.iter().map(|record| record.boot).max();
    ok(&mut session, &mtu(1700)).await;
    ok(&mut session, &Operation::commit()).await;
    let last = one.simulator.journal().unwrap().pop().unwrap();
    assert!(Some(last.boot) > boots && last.seq == 4);
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_cut_off() {
    let one = One::start().await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &Operation::commit()).await;
    let One { simulator, directory, .. } = one;
    simulator.shutdown().await;
    let path = directory.path().join(FILE_NAME);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(br#"{"seq":2,"time":"2025-"#).unwrap();
    assert_eq!(Journal::read(directory.path()).unwrap().len(), 1);

    let one = One::start_in(directory).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1600)).await;
    ok(&mut session, &Operation::commit()).await;
    assert_eq!(one.simulator.journal().unwrap().len(), 2);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn a_corrupt_journal_stops_the_start() {
    let directory = StateDirectory::new();
    std::fs::create_dir_all(directory.path()).unwrap();
    std::fs::write(directory.path().join(FILE_NAME), "{}\n").unwrap();
    let error = try_start(&directory, DeviceSpec::many("a", 1, 0)).await.unwrap_err();
    let corrupt = matches!(error, SimulatorError::Journal(JournalError::Corrupt { line: 1, .. }));
    assert!(corrupt, "{error}");
}

#[tokio::test]
async fn a_directory_and_a_port_serve_one_simulator() {
    let one = One::start().await;
    let error = try_start(&one.directory, DeviceSpec::many("b", 1, 0)).await.unwrap_err();
    assert!(matches!(error, SimulatorError::DirectoryInUse { .. }), "{error}");
    let port = one.device.address().port();
    let other = StateDirectory::new();
    let error = try_start(&other, DeviceSpec::many("b", 1, port)).await.unwrap_err();
    assert!(matches!(error, SimulatorError::Listen { .. }), "{error}");
    let double = [DeviceSpec::many("b", 1, 0), DeviceSpec::many("b", 1, 0)].concat();
    let error = try_start(&other, double).await.unwrap_err();
    assert!(matches!(error, SimulatorError::DuplicateName(_)), "{error}");
    // After a failed start and after a shutdown, everything is free.
    let One { simulator, directory, .. } = one;
    simulator.shutdown().await;
    let simulator = start(&directory, DeviceSpec::many("b", 1, port)).await;
    assert!(connect(&simulator.device("sim-b-1").unwrap()).await.is_ok());
}
