use turnup_core::audit::{CheckCondition, Test};
use turnup_netconf::message::Reply;

use super::*;

fn work() -> AuditWork {
    let tree = |inside: &str| {
        format!(
            r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name>{inside}</interface></interfaces>"#
        )
    };
    AuditWork {
        config: Some(ConfigWork {
            footprint: tree("<unit><id>7</id><vlan-id>8</vlan-id></unit>"),
            filter: tree("<unit><id>7</id></unit>"),
            owned: vec!["/interfaces/interface[name='ge-0']/unit[id='7']".to_owned()],
            keys: [("interface", "name"), ("unit", "id")]
                .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
                .into(),
            nodes: turnup_core::nodes::NodeFacts::default(),
        }),
        checks: vec![Check {
            name: "pings".to_owned(),
            ask: CheckAsk::Rpc("<ping xmlns=\"urn:turnup:sim\"/>".to_owned()),
            conditions: vec![
                CheckCondition { path: "/received".to_owned(), test: Test::AtLeast, value: "2".to_owned() },
                CheckCondition { path: "/sent".to_owned(), test: Test::Exists, value: String::new() },
            ],
        }],
    }
}

fn data(unit: &str) -> Element {
    let text = format!(
        r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name><mtu>9000</mtu>{unit}</interface></interfaces>"#
    );
    parse(&text).unwrap()
}

#[test]
fn differences_are_named_with_both_values() {
    let plan = Plan::new(Some(&work()));
    let config = plan.config.unwrap().unwrap();
    let compare = |unit: &str| {
        let (differences, in_all) = config.compare(&data(unit));
        assert_eq!(differences.len(), in_all);
        differences.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let path = "/interfaces/interface[name='ge-0']/unit[id='7']";
    assert_eq!(compare("<unit><id>7</id><vlan-id>8</vlan-id></unit><unit><id>9</id></unit>"), [""; 0]);
    assert_eq!(
        compare("<unit><id>7</id><vlan-id>9</vlan-id><mtu>1500</mtu></unit>"),
        [format!("{path}/vlan-id is \"9\" instead of \"8\""), format!("{path}/mtu is extra (\"1500\")")]
    );
    assert_eq!(compare(""), [format!("{path} is missing")]);
    assert_eq!(compare("<unit><id>7</id></unit>"), [format!("{path}/vlan-id is missing (wanted \"8\")")]);
}

#[test]
fn only_the_first_differences_are_kept_and_all_are_counted() {
    let mut work = work();
    let units = |vlan: u32| -> String {
        (0..300).map(|id| format!("<unit><id>{id}</id><description>{vlan}</description></unit>")).collect()
    };
    let config = work.config.as_mut().unwrap();
    config.footprint = data(&units(1)).to_xml().replace("<config>", "").replace("</config>", "");
    let config = Plan::new(Some(&work)).config.unwrap().unwrap();
    let (kept, in_all) = config.compare(&data(&units(2)));
    assert_eq!((kept.len(), in_all), (MAX_DIFFERENCES, 300));
}

#[test]
fn a_server_that_shows_defaults_is_asked_for_what_was_set() {
    let config = Plan::new(Some(&work())).config.unwrap().unwrap();
    let asked = |capability: &str| {
        let uri = format!("urn:ietf:params:netconf:capability:with-defaults:1.0?{capability}");
        config
            .read(&Capabilities::new([uri]), WithDefaults::AsOffered)
            .element()
            .to_xml()
            .contains("explicit")
    };
    assert!(asked("basic-mode=report-all&also-supported=trim,explicit"));
    let config = Plan::new(Some(&work())).config.unwrap().unwrap();
    let asked = |capability: &str| {
        let uri = format!("urn:ietf:params:netconf:capability:with-defaults:1.0?{capability}");
        config
            .read(&Capabilities::new([uri]), WithDefaults::AsOffered)
            .element()
            .to_xml()
            .contains("explicit")
    };
    assert!(!asked("basic-mode=report-all&also-supported=trim"), "it can't");
    assert!(!asked("basic-mode=explicit&also-supported=report-all"), "it does so anyway");
}

/// What an audit of an owned interface finds on a device with this capability.
fn found(capability: &str, nodes: turnup_core::nodes::NodeFacts, wanted: &str, data: &str) -> Vec<String> {
    let interface = |inside: &str| {
        format!(
            "<interfaces xmlns=\"urn:ietf:params:xml:ns:yang:ietf-interfaces\"><interface><name>eth7</name>{inside}\
             </interface></interfaces>"
        )
    };
    let config = ConfigWork {
        footprint: interface(wanted),
        filter: interface(""),
        owned: vec!["/interfaces/interface[name='eth7']".to_owned()],
        keys: [("interface".to_owned(), vec!["name".to_owned()])].into(),
        nodes,
    };
    let work = AuditWork { config: Some(config), checks: Vec::new() };
    let config = Plan::new(Some(&work)).config.unwrap().unwrap();
    let uri = format!("urn:ietf:params:netconf:capability:with-defaults:1.0?{capability}");
    config.read(&Capabilities::new([uri]), WithDefaults::AsOffered);
    config.compare(&parse(&interface(data)).unwrap()).0.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_that_nobody_set_and_containers_without_content_are_no_drift() {
    let wanted = "<type xmlns:i=\"urn:iana\">i:eth</type><enabled>true</enabled>";
    let tagged = |text: &str| {
        text.replace("_D", " xmlns:wd=\"urn:ietf:params:xml:ns:netconf:default:1.0\" wd:default=\"true\"")
    };
    let data = tagged(&format!(
        "{wanted}<link-up-down-trap-enable_D>enabled</link-up-down-trap-enable><ipv4 xmlns=\"urn:ip\"/>"
    ));
    let capability = "basic-mode=report-all&also-supported=report-all-tagged,trim";
    let nothing = turnup_core::nodes::NodeFacts::default;
    assert_eq!(found(capability, nothing(), wanted, &data), [""; 0]);
    let data = data.replace("<enabled>true", "<enabled>false");
    assert_eq!(
        found(capability, nothing(), wanted, &data),
        ["/interfaces/interface[name='eth7']/enabled is \"false\" instead of \"true\""]
    );
    // With YANG, a device that hides or shows all defaults says the same.
    let facts = turnup_core::nodes::NodeFacts {
        typed: true,
        defaults: [("enabled", "true"), ("link-up-down-trap-enable", "enabled")]
            .map(|(leaf, value)| (format!("interfaces/interface/{leaf}"), value.to_owned()))
            .into(),
        ..nothing()
    };
    let type_only = "<type xmlns:i=\"urn:iana\">i:eth</type>";
    assert_eq!(found("basic-mode=trim", facts.clone(), wanted, type_only), [""; 0]);
    let all = format!("{wanted}<link-up-down-trap-enable>enabled</link-up-down-trap-enable>");
    assert_eq!(found("basic-mode=report-all", facts.clone(), wanted, &all), [""; 0]);
    let other = all.replace("enabled</link", "disabled</link");
    assert_eq!(
        found("basic-mode=report-all", facts, wanted, &other),
        ["/interfaces/interface[name='eth7']/link-up-down-trap-enable is extra (\"disabled\")"]
    );
    // Without it, what a device hides is missing.
    assert_eq!(found("basic-mode=trim", nothing(), wanted, type_only).len(), 1);
}

#[test]
fn what_is_deactivated_or_in_another_order_is_drift() {
    let facts = || turnup_core::nodes::NodeFacts {
        ordered: ["interfaces/interface/dns".to_owned()].into(),
        ..turnup_core::nodes::NodeFacts::default()
    };
    let wanted = "<dns>1</dns><dns>2</dns><unit><id>7</id></unit>";
    let explicit = "basic-mode=explicit";
    assert_eq!(found(explicit, facts(), wanted, wanted), [""; 0]);
    let data = wanted.replace("<unit>", "<unit inactive=\"inactive\">");
    assert_eq!(
        found(explicit, facts(), wanted, &data),
        ["/interfaces/interface[name='eth7']/unit is deactivated"]
    );
    let data = "<dns>2</dns><dns>1</dns><unit><id>7</id></unit>";
    assert_eq!(
        found(explicit, facts(), wanted, data),
        ["the order of /interfaces/interface[name='eth7']/dns differs: 2, 1 instead of 1, 2"]
    );
}

fn leaf(name: &str, value: &str) -> Element {
    Element::new("urn:turnup:sim", name).with_text(value)
}

#[test]
fn a_check_passes_only_if_all_its_conditions_hold() {
    let plan = Plan::new(Some(&work()));
    let test = plan.checks[0].test.as_ref().unwrap();
    let judge = |received: &str| {
        test.judge("pings", &Reply::with_content([leaf("sent", "3"), leaf("received", received)]))
    };
    let good = judge("3");
    assert!(good.passed);
    assert_eq!(good.evidence, "/received is \"3\"; /sent is \"3\"");
    let bad = judge("1");
    assert!(!bad.passed);
    assert_eq!(bad.evidence, "/received is \"1\", wanted at least 2");
    assert_eq!((bad.name.as_str(), test.repeatable), ("pings", false));
}

#[test]
fn what_cannot_be_used_is_part_of_the_result() {
    let mut bad = work();
    bad.config.as_mut().unwrap().footprint = "<a>".to_owned();
    let two = CheckAsk::Rpc("<a/><b/>".to_owned());
    let condition = CheckCondition { path: "/a[".to_owned(), test: Test::Exists, value: String::new() };
    bad.checks.push(Check { ask: two, ..bad.checks[0].clone() });
    bad.checks.push(Check { conditions: vec![condition], ..bad.checks[0].clone() });
    bad.checks.push(Check { ask: CheckAsk::Get("<".to_owned()), ..bad.checks[0].clone() });
    let plan = Plan::new(Some(&bad));
    assert!(plan.config.as_ref().unwrap().as_ref().unwrap_err().contains("footprint"));
    let whys: Vec<bool> = plan.checks.iter().map(|check| check.test.is_err()).collect();
    assert_eq!(whys, [false, true, true, true]);
    let result = plan.unreachable("no route");
    assert_eq!(result.config, ConfigAudit::Unreachable);
    assert!(result.checks.iter().all(|check| !check.passed && check.evidence == "no route"));
    assert_eq!(Plan::new(None).unreachable("no route").config, ConfigAudit::NotAudited);
}

#[test]
fn texts_are_cut_between_characters() {
    assert_eq!(cut("höhe", 10), "höhe");
    assert_eq!(cut("höhe", 5), "höhe");
    assert_eq!(cut("höher", 5), "h…");
    assert_eq!(cut("höhe", 2), "");
}
