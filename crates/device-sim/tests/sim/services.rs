//! Services with state, pings, edits by hand, ports from the factory: as clients and the control interface
//! meet them.

use std::time::Duration;

use secrecy::SecretString;
use turnup_device_sim::behaviour::{Act, Behaviour, Fault};
use turnup_device_sim::control::{Answer, Command, call};
use turnup_device_sim::journal::Journal;
use turnup_device_sim::schema::{REVISION, YANG};
use turnup_device_sim::{DeviceSpec, Options, PingFate, Simulator};
use turnup_netconf::operation::{Datastore, Filter, Operation};
use turnup_netconf::ssh::Session;
use turnup_netconf::xml::Element;

use crate::device::{
    One, PASSWORD, SIM, StateDirectory, connect, edit, kinds, line, mtu, ok, parse, result, tag,
};

const NAME: &str = "sim-a-1";

/// A device with two ports, and the control interface.
async fn with_ports(directory: &StateDirectory) -> Simulator {
    let options = Options {
        ports: 2,
        control: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::new(DeviceSpec::many("a", 1, 0), directory.path(), SecretString::from(PASSWORD))
    };
    Simulator::start(options).await.unwrap()
}

/// Sends a line of JSON to the control interface, as scripts do.
async fn control(simulator: &Simulator, line: &str) -> Answer {
    let command: Command = serde_json::from_str(line).unwrap();
    call(simulator.control_address().unwrap(), &command, Duration::from_secs(10)).await.unwrap()
}

/// An edit for a VRF with a unit of a port as its member.
fn vpn() -> Operation {
    edit(&[
        &format!(
            "<interfaces xmlns='{SIM}'><interface><name>ge-0/0/1</name><vlan-tagging>true</vlan-tagging>\
             <unit><id>100</id><vlan-id>100</vlan-id><ipv4-address>192.0.2.1/30</ipv4-address></unit>\
             </interface></interfaces>"
        ),
        &format!(
            "<vrfs xmlns='{SIM}'><vrf><name>red</name><route-distinguisher>65000:17</route-distinguisher>\
             <import-target><value>65000:17</value></import-target>\
             <member><id>ge-0/0/1.100</id><interface>ge-0/0/1</interface><unit>100</unit></member>\
             <static-route><prefix>198.51.100.0/24</prefix><next-hop>192.0.2.2</next-hop></static-route>\
             </vrf></vrfs>"
        ),
    ])
}

/// What a filter for one node of the top selects.
async fn get(session: &mut Session, filter: &str) -> Element {
    let filter = Filter::Subtree(vec![parse(filter)]);
    let data = ok(session, &Operation::get(Some(&filter))).await.into_data().unwrap();
    data.into_children().next().unwrap()
}

async fn vrf_state(session: &mut Session) -> String {
    let data = get(session, &format!("<vrfs xmlns='{SIM}'><vrf><name>red</name><state/></vrf></vrfs>")).await;
    data.descend(&["vrf", "state"]).unwrap().text().into_owned()
}

fn ping(vrf: &str) -> Operation {
    let text = format!("<ping xmlns='{SIM}'><destination>192.0.2.2</destination><vrf>{vrf}</vrf></ping>");
    Operation::new(parse(&text))
}

/// Sent, received and, if there is one, the time it took.
async fn pinged(session: &mut Session) -> String {
    let reply = ok(session, &ping("red")).await;
    let values: Vec<_> =
        reply.content().iter().map(|leaf| format!("{}={}", leaf.name(), leaf.text())).collect();
    values.join(" ")
}

#[tokio::test]
async fn a_vrf_and_its_pings_can_be_made_to_fail_and_heal() {
    let directory = StateDirectory::new();
    let simulator = with_ports(&directory).await;
    let mut session = connect(&simulator.device(NAME).unwrap()).await.unwrap();
    assert_eq!(tag(&mut session, &ping("red")).await, "invalid-value");
    ok(&mut session, &vpn()).await;
    ok(&mut session, &Operation::commit()).await;
    assert_eq!(vrf_state(&mut session).await, "up");
    assert_eq!(pinged(&mut session).await, "sent=3 received=3 rtt-ms=2");

    let down =
        r#"{"command":"set_state","device":"sim-a-1","path":"/vrfs/vrf[name='red']/state","value":"down"}"#;
    assert_eq!(control(&simulator, down).await, Answer::Done);
    assert_eq!(vrf_state(&mut session).await, "down");
    assert_eq!(pinged(&mut session).await, "sent=3 received=0");
    let own =
        r#"{"command":"set_state","device":"sim-a-1","path":"/vrfs/vrf[name='red']/state","value":null}"#;
    assert_eq!(control(&simulator, own).await, Answer::Done);
    assert_eq!(vrf_state(&mut session).await, "up");

    let lossy = r#"{"command":"set_behaviour","device":"sim-a-1","behaviour":
        {"pings":[{"destination":"192.0.2.2","vrf":"red","lost_percent":50,"rtt_ms":80}]}}"#;
    assert_eq!(control(&simulator, lossy).await, Answer::Done);
    assert_eq!(pinged(&mut session).await, "sent=3 received=1 rtt-ms=80");
    let faults = vec![Fault::before("ping", Act::Drop)];
    let behaviour = Behaviour { pings: vec![PingFate::default()], faults, ..Behaviour::default() };
    let device = simulator.device(NAME).unwrap();
    device.set_behaviour(behaviour).await.unwrap();
    assert!(result_of_ping(&mut session).await.is_err(), "faults fit pings too");
    let mut session = connect(&device).await.unwrap();
    assert_eq!(pinged(&mut session).await, "sent=3 received=0");
    let healed = r#"{"command":"set_behaviour","device":"sim-a-1","behaviour":{}}"#;
    assert_eq!(control(&simulator, healed).await, Answer::Done);
    assert_eq!(pinged(&mut session).await, "sent=3 received=3 rtt-ms=2");
}

async fn result_of_ping(session: &mut Session) -> Result<(), ()> {
    session.rpc(&ping("red"), crate::device::later()).await.map(drop).map_err(drop)
}

#[tokio::test]
async fn a_bridge_domain_is_configured_and_read_back() {
    let one = One::start().await;
    let mut session = one.connect().await;
    ok(&mut session, &line(100)).await;
    let domain = |unit: u32| {
        edit(&[&format!(
            "<bridge-domains xmlns='{SIM}'><bridge-domain><name>lan</name><vpn-id>17</vpn-id>\
             <route-target>65000:17</route-target><mac-limit>500</mac-limit>\
             <member><id>ge-0.{unit}</id><interface>ge-0</interface><unit>{unit}</unit></member>\
             </bridge-domain></bridge-domains>"
        )])
    };
    let refused = result(&mut session, &domain(101)).await.unwrap_err();
    let error = refused.errors().next().unwrap();
    let path = "/bridge-domains/bridge-domain[name='lan']/member[id='ge-0.101']";
    assert_eq!((error.app_tag.as_deref(), error.path.as_deref()), (Some("must-violation"), Some(path)));
    assert_eq!(error.message.as_deref(), Some("the interface and unit of a member must exist"));
    ok(&mut session, &domain(100)).await;
    ok(&mut session, &Operation::commit()).await;
    let filter = format!("<bridge-domains xmlns='{SIM}'/>");
    let data = get(&mut session, &filter).await.to_xml();
    let expected = "<name>lan</name><vpn-id>17</vpn-id><route-target>65000:17</route-target>\
        <mac-limit>500</mac-limit><member><id>ge-0.100</id><interface>ge-0</interface><unit>100</unit></member>\
        <state>up</state><mac-count>1</mac-count></bridge-domain>";
    assert!(data.contains(expected), "{data}");
    let filter = Filter::Subtree(vec![parse(&filter)]);
    let reply = ok(&mut session, &Operation::get_config(Datastore::Running, Some(&filter))).await;
    let configuration = reply.into_data().unwrap().to_xml();
    assert!(configuration.contains("<vpn-id>17<") && !configuration.contains("state"), "{configuration}");
    one.assert_journal_agrees();
}

#[tokio::test]
async fn somebody_edits_by_hand() {
    let directory = StateDirectory::new();
    let simulator = with_ports(&directory).await;
    let device = simulator.device(NAME).unwrap();
    let mut session = connect(&device).await.unwrap();
    ok(&mut session, &vpn()).await;
    ok(&mut session, &Operation::commit()).await;

    // In each of the three forms.
    let merge = r#"{"command":"edit_running","device":"sim-a-1","config":
        "<interfaces xmlns='urn:turnup:sim'><interface><name>ge-0/0/1</name><mtu>1400</mtu></interface></interfaces>"}"#;
    assert_eq!(control(&simulator, merge).await, Answer::Done);
    let remove = r#"{"command":"edit_running","device":"sim-a-1","config":
        "<config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0'><vrfs xmlns='urn:turnup:sim'><vrf><name>red</name><static-route nc:operation='delete'><prefix>198.51.100.0/24</prefix></static-route></vrf></vrfs></config>"}"#;
    assert_eq!(control(&simulator, remove).await, Answer::Done);
    let none = "<edit-config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'>\
        <default-operation>none</default-operation><config><interfaces xmlns='urn:turnup:sim'>\
        <interface><name>ge-9</name></interface></interfaces></config></edit-config>";
    let refused = device.edit_running(none).unwrap_err().to_string();
    assert!(refused.contains("data-missing"), "{refused}");

    let running = device.running();
    assert_eq!(running["/interfaces/interface[name='ge-0/0/1']/mtu"].as_ref(), "1400");
    assert!(!running.keys().any(|path| path.contains("static-route")));
    let records = simulator.journal().unwrap();
    assert_eq!(kinds(&records), ["committed"; 4]);
    let sessions: Vec<u32> = records.iter().map(|record| record.session).collect();
    assert_eq!(sessions, [0, session.session_id(), 0, 0]);
    assert_eq!(turnup_device_sim::journal::replay(&records)[NAME], running);

    // What isn't valid isn't made, and nobody comes past a lock.
    let wrong = [
        "<interfaces",
        "<interfaces xmlns='urn:turnup:sim'><interface><name>x</name><mtu>1</mtu></interface></interfaces>",
        "<config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0'>\
         <interfaces xmlns='urn:turnup:sim' nc:operation='delete'/></config>",
    ];
    for xml in wrong {
        assert!(device.edit_running(xml).is_err(), "{xml}");
    }
    ok(&mut session, &Operation::lock(Datastore::Running)).await;
    match control(&simulator, merge).await {
        Answer::Error(reason) => assert!(reason.contains("in-use"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(simulator.journal().unwrap().len(), 4);
    // A device that nobody reaches has a console too.
    device.set_behaviour(Behaviour { down: true, ..Behaviour::default() }).await.unwrap();
    let enabled = "<interfaces xmlns='urn:turnup:sim'><interface><name>ge-0/0/0</name>\
        <enabled>false</enabled></interface></interfaces>";
    crate::device::wait_until("the lock is gone with its session", || device.edit_running(enabled).is_ok())
        .await;
}

#[tokio::test]
async fn ports_are_there_from_the_factory_and_only_then() {
    let directory = StateDirectory::new();
    let simulator = with_ports(&directory).await;
    let names = |simulator: &Simulator| {
        let running = simulator.device(NAME).unwrap().running();
        running.into_values().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(names(&simulator), ["ge-0/0/0", "ge-0/0/1"]);
    let gone = "<config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' \
        xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0'><interfaces xmlns='urn:turnup:sim'>\
        <interface nc:operation='delete'><name>ge-0/0/0</name></interface></interfaces></config>";
    simulator.device(NAME).unwrap().edit_running(gone).unwrap();
    simulator.shutdown().await;
    let simulator = with_ports(&directory).await;
    assert_eq!(names(&simulator), ["ge-0/0/1"], "what was removed stays removed");
    let mut session = connect(&simulator.device(NAME).unwrap()).await.unwrap();
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &Operation::commit()).await;
    let records = Journal::read(directory.path()).unwrap();
    let whose: Vec<(u32, bool)> = records.iter().map(|record| (record.boot, record.session == 0)).collect();
    assert_eq!(whose, [(0, true), (0, true), (1, false)]);
}

#[tokio::test]
async fn monitoring_lists_the_module() {
    let one = One::start().await;
    let mut session = one.connect().await;
    let modules = session.capabilities().modules();
    assert_eq!(modules.len(), 1);
    assert_eq!(modules[0].namespace, SIM);
    assert_eq!((modules[0].name.as_str(), modules[0].revision.as_deref()), ("turnup-sim", Some(REVISION)));
    let monitoring = turnup_netconf::namespace::MONITORING;
    let data =
        get(&mut session, &format!("<netconf-state xmlns='{monitoring}'><schemas/></netconf-state>")).await;
    let schemas: Vec<&Element> = data.descend(&["schemas"]).unwrap().children().collect();
    assert_eq!(schemas.len(), 1);
    let leaves: Vec<_> =
        schemas[0].children().map(|leaf| format!("{}={}", leaf.name(), leaf.text())).collect();
    assert_eq!(
        leaves,
        [
            "identifier=turnup-sim",
            &format!("version={REVISION}"),
            "format=yang",
            "namespace=urn:turnup:sim",
            "location=NETCONF"
        ]
    );
    let reply = ok(&mut session, &Operation::get_schema("turnup-sim", Some(REVISION))).await;
    assert_eq!(reply.data().unwrap().raw_text(), YANG);
    assert_eq!(
        tag(&mut session, &Operation::get_schema("turnup-sim", Some("2000-01-01"))).await,
        "invalid-value"
    );
}

#[tokio::test]
async fn the_clock_can_be_wrong() {
    let one = One::start().await;
    let mut session = one.connect().await;
    let hour_ms = 3_600_000;
    for clock_offset_ms in [0, -hour_ms, 24 * hour_ms] {
        one.device.set_behaviour(Behaviour { clock_offset_ms, ..Behaviour::default() }).await.unwrap();
        let before = jiff::Timestamp::now();
        let data = get(&mut session, &format!("<system xmlns='{SIM}'><clock/></system>")).await;
        let text = data.descend(&["clock", "current-datetime"]).unwrap().text().into_owned();
        let said: jiff::Timestamp = text.parse().unwrap();
        let ahead_ms = said.as_millisecond() - before.as_millisecond() - clock_offset_ms;
        assert!((0..60_000).contains(&ahead_ms), "{clock_offset_ms}: {text}, asked at {before}");
    }
}
