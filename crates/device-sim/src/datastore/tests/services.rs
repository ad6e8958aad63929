//! Bridge domains, VRFs, QoS profiles: what is refused, and what state follows.

use super::*;

const PORTS: &str = r#"
<interfaces xmlns="urn:turnup:sim">
  <interface><name>ge-0</name><vlan-tagging>true</vlan-tagging>
    <unit><id>1</id><ipv4-address>192.0.2.1/30</ipv4-address><qos-profile>gold</qos-profile></unit></interface>
  <interface><name>ge-1</name><unit><id>1</id></unit><unit><id>2</id></unit></interface>
</interfaces>
<qos-profiles xmlns="urn:turnup:sim"><qos-profile><name>gold</name><rate>100000</rate></qos-profile></qos-profiles>
<bridge-domains xmlns="urn:turnup:sim"><bridge-domain><name>b</name><vpn-id>17</vpn-id>
  <route-distinguisher>65000:17</route-distinguisher><route-target>65000:17</route-target>
  <mac-limit>500</mac-limit><description>lan</description>
  <member><id>ge-0.1</id><interface>ge-0</interface><unit>1</unit></member>
  <member><id>ge-1.1</id><interface>ge-1</interface><unit>1</unit></member></bridge-domain></bridge-domains>
<vrfs xmlns="urn:turnup:sim"><vrf><name>v</name><route-distinguisher>65000:18</route-distinguisher>
  <import-target><value>65000:18</value></import-target><export-target><value>65000:18</value></export-target>
  <member><id>ge-1.2</id><interface>ge-1</interface><unit>2</unit></member>
  <static-route><prefix>198.51.100.0/24</prefix><next-hop>192.0.2.2</next-hop></static-route></vrf></vrfs>"#;

fn with_services() -> Datastores {
    let mut device = device();
    device.edit_candidate(A, edit(&config(PORTS))).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    device
}

fn domain(inside: &str) -> String {
    format!(
        r#"<bridge-domains xmlns="urn:turnup:sim"><bridge-domain>{inside}</bridge-domain></bridge-domains>"#
    )
}

fn vrf(inside: &str) -> String {
    format!(r#"<vrfs xmlns="urn:turnup:sim"><vrf>{inside}</vrf></vrfs>"#)
}

#[test]
fn what_is_wrong_with_a_service_is_named() {
    let unit = |inside: &str| {
        format!(
            r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name><unit><id>1</id>{inside}</unit></interface></interfaces>"#
        )
    };
    let b = "/bridge-domains/bridge-domain[name='b']";
    let v = "/vrfs/vrf[name='v']";
    let (unit_1, must) =
        ("/interfaces/interface[name='ge-0']/unit[id='1']", "operation-failed must-violation");
    let cases = [
        (unit("<ipv4-address>192.0.2.1</ipv4-address>"), format!("invalid-value {unit_1}/ipv4-address")),
        (unit("<qos-profile/>"), format!("invalid-value {unit_1}/qos-profile")),
        (
            r#"<qos-profiles xmlns="urn:turnup:sim"><qos-profile><name>x</name></qos-profile></qos-profiles>"#
                .to_owned(),
            "data-missing /qos-profiles/qos-profile[name='x']/rate".to_owned(),
        ),
        (domain("<name>x</name>"), "data-missing /bridge-domains/bridge-domain[name='x']/vpn-id".to_owned()),
        (domain("<name>b</name><mac-limit>0</mac-limit>"), format!("invalid-value {b}/mac-limit")),
        (domain("<name>b</name><mac-limit>65536</mac-limit>"), format!("invalid-value {b}/mac-limit")),
        (domain("<name>b</name><route-target>65000</route-target>"), format!("invalid-value {b}/route-target")),
        (domain("<name>b</name><state>up</state>"), format!("unknown-element {b}/state")),
        (
            domain(r#"<name>b</name><vpn-id nc:operation="delete"/>"#),
            format!("data-missing {b}/vpn-id"),
        ),
        (
            domain("<name>b</name><member><id>m</id><interface>ge-0</interface><unit>9</unit></member>"),
            format!("{must} {b}/member[id='m']"),
        ),
        (
            domain("<name>b</name><member><id>m</id><unit>1</unit></member>"),
            format!("data-missing {b}/member[id='m']/interface"),
        ),
        // The second member is looked at too, though the first is fine.
        (
            domain("<name>b</name><member><id>a</id><interface>ge-1</interface><unit>2</unit></member><member><id>z</id><interface>ge-1</interface><unit>3</unit></member>"),
            format!("{must} {b}/member[id='z']"),
        ),
        (unit(r#""#), String::new()),
        (
            r#"<interfaces xmlns="urn:turnup:sim"><interface nc:operation="delete"><name>ge-0</name></interface></interfaces>"#
                .to_owned(),
            format!("{must} {b}/member[id='ge-0.1']"),
        ),
        (
            r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-1</name><unit nc:operation="remove"><id>2</id></unit></interface></interfaces>"#
                .to_owned(),
            format!("{must} {v}/member[id='ge-1.2']"),
        ),
        (vrf("<name>x</name>"), "data-missing /vrfs/vrf[name='x']/route-distinguisher".to_owned()),
        (vrf("<name>v</name><import-target><value>all</value></import-target>"), format!("invalid-value {v}/import-target")),
        (
            vrf("<name>v</name><static-route><prefix>203.0.113.0/24</prefix></static-route>"),
            format!("data-missing {v}/static-route[prefix='203.0.113.0/24']/next-hop"),
        ),
        (
            vrf("<name>v</name><static-route><prefix>198.51.100.0/24</prefix><next-hop>x</next-hop></static-route>"),
            format!("invalid-value {v}/static-route[prefix='198.51.100.0/24']/next-hop"),
        ),
        (
            vrf("<name>v</name><static-route><prefix>198.51.100.0/33</prefix></static-route>"),
            format!("invalid-value {v}/static-route"),
        ),
        (
            r#"<system xmlns="urn:turnup:sim"><clock><current-datetime>2026-11-24T10:00:00Z</current-datetime></clock></system>"#
                .to_owned(),
            "unknown-element /system/clock/current-datetime".to_owned(),
        ),
    ];
    for (content, expected) in cases {
        let mut device = with_services();
        let errors = device.edit_candidate(A, edit(&config(&content))).err().unwrap_or_default();
        let found = errors.into_iter().next().map_or(String::new(), |error| {
            let parts = [Some(error.tag.as_str().to_owned()), error.app_tag, error.path];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found, expected, "{content}");
        assert!(expected.is_empty() || !device.candidate_is_changed(), "something is left of {content}");
    }
}

/// State of the bridge domain and the VRF, and how much they have learned.
fn states(device: &Datastores) -> String {
    let data = device.get(Timestamp::UNIX_EPOCH, Vec::new, None);
    let of = |top: &str, entry: &str, leaf: &str| {
        let leaf = data.child(crate::schema::NAMESPACE, top).and_then(|top| top.descend(&[entry, leaf]));
        leaf.map(|leaf| leaf.text().into_owned()).unwrap_or_default()
    };
    [
        of("bridge-domains", "bridge-domain", "state"),
        of("bridge-domains", "bridge-domain", "mac-count"),
        of("vrfs", "vrf", "state"),
        of("vrfs", "vrf", "route-count"),
    ]
    .join(" ")
}

fn set(device: &mut Datastores, path: &str, value: Option<&str>) {
    device.set_state(Path::parse(path).unwrap(), value).unwrap();
}

#[test]
fn state_follows_the_interfaces_of_the_members_or_the_script() {
    let mut device = with_services();
    assert_eq!(states(&device), "up 2 up 2");
    let disabled = interfaces("<interface><name>ge-0</name><enabled>false</enabled></interface>");
    device.edit_candidate(A, edit(&disabled)).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    assert_eq!(states(&device), "down 0 up 2");
    assert_eq!(device.vrf_is_up("v"), Some(true));

    let (status, state) = ("/interfaces/interface[name='ge-1']/oper-status", "/vrfs/vrf[name='v']/state");
    set(&mut device, status, Some("down"));
    assert_eq!(states(&device), "down 0 down 0");
    assert_eq!((device.vrf_is_up("v"), device.vrf_is_up("w")), (Some(false), None));
    set(&mut device, state, Some("up"));
    assert_eq!(states(&device), "down 0 up 2");
    set(&mut device, "/bridge-domains/bridge-domain[name='b']/mac-count", Some("42"));
    assert_eq!(states(&device), "down 42 up 2");
    set(&mut device, status, None);
    set(&mut device, state, Some("down"));
    assert_eq!((states(&device).as_str(), device.vrf_is_up("v")), ("down 42 down 0", Some(false)));
    set(&mut device, state, None);
    assert_eq!(states(&device), "down 42 up 2");
}

#[test]
fn without_members_nothing_is_up() {
    let mut device = with_services();
    let content = config(&[
        domain(r#"<name>b</name><member nc:operation="delete"><id>ge-0.1</id></member><member nc:operation="delete"><id>ge-1.1</id></member>"#),
        vrf(r#"<name>v</name><member nc:operation="delete"><id>ge-1.2</id></member>"#),
    ].concat());
    device.edit_candidate(A, edit(&content)).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    assert_eq!(states(&device), "down 0 down 0");
    // And the units are free to go.
    let content = config(r#"<interfaces xmlns="urn:turnup:sim" nc:operation="delete"/>"#);
    device.edit_candidate(A, edit(&content)).unwrap();
}

#[test]
fn the_clock_says_the_time_or_what_the_script_says() {
    let mut device = device();
    let read = |device: &Datastores| {
        let data = device.get("2026-11-24T10:00:00.25Z".parse().unwrap(), Vec::new, None);
        data.children().next().unwrap().descend(&["clock", "current-datetime"]).unwrap().text().into_owned()
    };
    assert_eq!(read(&device), "2026-11-24T10:00:00.250Z");
    set(&mut device, "/system/clock/current-datetime", Some("1999-12-31T23:59:59Z"));
    assert_eq!(read(&device), "1999-12-31T23:59:59Z");
    assert!(device.get_config(Datastore::Running, None).unwrap().is_empty());
}
