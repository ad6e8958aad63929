//! Personalities, as a client sees them.

use std::time::Duration;

use turnup_device_sim::{Personality, Simulator, control, control::Command, journal::Journal};
use turnup_netconf::message::{ErrorType, Reply, Severity};
use turnup_netconf::operation::{Datastore, Filter, Operation, WithDefaultsMode};
use turnup_netconf::ssh::Session;
use turnup_netconf::xml::Element;

use crate::device::{
    One, SIM, StateDirectory, edit, later, line, mtu, ok, parse, provisional, read_mtu, result, tag,
    wait_until,
};

/// An edit of ge-0 with this content.
fn interface(content: &str) -> Operation {
    edit(&[&format!(
        "<interfaces xmlns='{SIM}'><interface><name>ge-0</name>{content}</interface></interfaces>"
    )])
}

/// An edit that the commit refuses, since its interface is missing.
fn invalid() -> Operation {
    let edit = turnup_netconf::operation::EditConfig {
        test_option: Some(turnup_netconf::operation::TestOption::Set),
        ..turnup_netconf::operation::EditConfig::new(
            Datastore::Candidate,
            [parse(&format!(
                "<pseudowires xmlns='{SIM}'><pseudowire><name>p</name><vc-id>1</vc-id><peer>x</peer>\
                 <interface>none</interface><unit>0</unit></pseudowire></pseudowires>"
            ))],
        )
    };
    Operation::edit_config(edit)
}

async fn running(session: &mut Session) -> Element {
    ok(session, &Operation::get_config(Datastore::Running, None)).await.into_data().unwrap()
}

async fn reply(session: &mut Session, operation: &Operation) -> Reply {
    session.rpc(operation, later()).await.unwrap()
}

#[tokio::test]
async fn hello_offers_what_the_personality_has() {
    // Name, base:1.1, candidate, writable running, confirmed commit 1.1, rollback on error, startup, modules.
    let cases = [
        (Personality::DEFAULT, true, true, false, true, true, false, true),
        (Personality::NETOPEER2, true, true, true, true, true, true, true),
        (Personality::CLIXON, true, true, false, true, false, true, false),
        (Personality::YUMA, true, true, false, true, true, false, true),
        (Personality::JUNOS, false, true, false, false, false, false, true),
        (Personality::NOKIA_SROS, true, true, true, true, true, false, true),
        (Personality::HUAWEI_VRP, true, true, true, true, true, true, true),
        (Personality::IOSXR, true, true, false, true, true, false, true),
        (Personality::IOSXE, true, true, false, true, true, false, true),
    ];
    for (personality, base_1_1, candidate, writable, confirmed, rollback, startup, modules) in cases {
        let one = One::start_as(personality).await;
        let session = one.connect().await;
        let can = session.capabilities();
        assert_eq!(
            [
                can.base_1_1(),
                can.candidate(),
                can.writable_running(),
                can.confirmed_commit_1_1(),
                can.rollback_on_error(),
                can.startup(),
                can.modules().iter().any(|module| module.name == "turnup-sim"),
            ],
            [base_1_1, candidate, writable, confirmed, rollback, startup, modules],
            "{}",
            personality.name
        );
    }
}

#[tokio::test]
async fn netopeer2_keeps_the_timer_of_a_refused_commit() {
    let one = One::start_as(Personality::NETOPEER2).await;
    let mut session = one.connect().await;
    ok(&mut session, &invalid()).await;
    assert_eq!(tag(&mut session, &provisional(60, Some("t"))).await, "operation-failed");
    assert_eq!(one.device.holds().armed, ["t"]);
    ok(&mut session, &Operation::discard_changes()).await;
    let denied = result(&mut session, &Operation::lock(Datastore::Running)).await.unwrap_err();
    assert_eq!(denied.0[0].message.as_deref(), Some("There is an ongoing confirmed commit."));
    ok(&mut session, &Operation::cancel_commit(Some("t"))).await;
    assert!(one.device.holds().is_nothing());
    assert_eq!(one.kinds(), ["armed", "cancelled"]);
}

#[tokio::test]
async fn netopeer2_ends_idle_sessions() {
    let idle = Personality { idle_timeout: Some(Duration::from_millis(300)), ..Personality::NETOPEER2 };
    let one = One::start_as(idle).await;
    let mut session = one.connect().await;
    ok(&mut session, &Operation::lock(Datastore::Running)).await;
    wait_until("the idle session has lost its lock", || one.device.holds().running_lock.is_none()).await;
    assert!(session.rpc(&Operation::discard_changes(), later()).await.is_err());
}

#[tokio::test]
async fn netopeer2_timer_under_the_lock_of_running_forgets() {
    let one = One::start_as(Personality::NETOPEER2).await;
    let mut session = one.connect().await;
    ok(&mut session, &Operation::lock(Datastore::Running)).await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(1, Some("t"))).await;
    wait_until("the timer has fired", || !one.device.has_pending_commit()).await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
    assert_eq!(one.kinds(), ["provisional", "forgotten"]);
}

#[tokio::test]
async fn clixon_victim_of_kill_session_goes_on_without_locks() {
    let one = One::start_as(Personality::CLIXON).await;
    let (mut victim, mut killer) = (one.connect().await, one.connect().await);
    ok(&mut victim, &Operation::lock(Datastore::Candidate)).await;
    ok(&mut victim, &mtu(1500)).await;
    ok(&mut killer, &Operation::kill_session(victim.session_id())).await;
    assert_eq!(one.device.holds().candidate_lock, None);
    ok(&mut victim, &Operation::commit()).await;
    assert_eq!(read_mtu(&mut victim).await.as_deref(), Some("1500"));
}

#[tokio::test]
async fn clixon_refuses_values_late_and_without_path() {
    let one = One::start_as(Personality::CLIXON).await;
    let mut session = one.connect().await;
    ok(&mut session, &interface("<mtu>1</mtu>")).await;
    let refused = result(&mut session, &Operation::validate(Datastore::Candidate)).await.unwrap_err();
    assert_eq!((refused.0[0].tag.as_str(), refused.0[0].path.as_deref()), ("invalid-value", None));
    assert_eq!(tag(&mut session, &Operation::commit()).await, "invalid-value");
    session.close(later()).await;
    let mut next = one.connect().await;
    assert_eq!(tag(&mut next, &Operation::lock(Datastore::Candidate)).await, "lock-denied");
}

#[tokio::test]
async fn clixon_empties_running_when_a_stray_commit_has_deleted_the_backup() {
    let one = One::start_as(Personality::CLIXON).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &Operation::commit()).await;
    ok(&mut session, &mtu(9000)).await;
    ok(&mut session, &provisional(1, Some("t"))).await;
    ok(&mut session, &Operation::commit_confirming("wrong")).await;
    wait_until("the timer has fired", || one.device.holds().armed.is_empty()).await;
    assert!(one.device.running().is_empty());
    assert_eq!(one.kinds(), ["committed", "provisional", "committed", "timed_out"]);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn yuma_answers_ok_to_cancel_commit_under_lock_and_does_nothing() {
    let one = One::start_as(Personality::YUMA).await;
    let mut session = one.connect().await;
    ok(&mut session, &Operation::lock(Datastore::Running)).await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(60, Some("t"))).await;
    ok(&mut session, &Operation::cancel_commit(Some("t"))).await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
    assert_eq!(one.kinds(), ["provisional", "forgotten"]);
}

#[tokio::test]
async fn yuma_timer_waits_for_silence() {
    let one = One::start_as(Personality::YUMA).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(1, Some("t"))).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    wait_until("the timer has fired", || !one.device.has_pending_commit()).await;
    assert!(one.device.running().is_empty());
}

#[tokio::test]
async fn junos_speaks_in_its_own_way() {
    let one = One::start_as(Personality::JUNOS).await;
    let mut session = one.connect().await;
    let refused = result(&mut session, &Operation::lock(Datastore::Running)).await.unwrap_err();
    assert_eq!((refused.0[0].error_type, refused.0[0].message.as_deref()), (None, Some("syntax error")));
    assert!(refused.0[0].info.as_ref().unwrap().to_xml().contains("<bad-element>running</bad-element>"));
    ok(&mut session, &Operation::lock(Datastore::Candidate)).await;

    let refused = result(&mut session, &interface("<mtu>1</mtu>")).await.unwrap_err();
    let error = &refused.0[0];
    assert_eq!((error.error_type, error.tag.as_str()), (Some(ErrorType::Protocol), "operation-failed"));
    assert_eq!(error.path.as_deref(), Some("[edit interfaces interface ge-0]"));
    assert!(error.info.as_ref().unwrap().to_xml().contains("<bad-element>mtu</bad-element>"));

    ok(&mut session, &invalid()).await;
    let refused = reply(&mut session, &Operation::commit()).await;
    let results = refused.content().iter().find(|element| element.name() == "commit-results").unwrap();
    let nested: Vec<_> = results.children().filter(|child| child.name() == "rpc-error").collect();
    assert_eq!(nested.len(), 2);
    assert!(nested[0].to_xml().contains("warning") && nested[1].to_xml().contains("[edit pseudowires"));
    assert!(!refused.is_ok());
    ok(&mut session, &Operation::discard_changes()).await;

    ok(&mut session, &mtu(1500)).await;
    let committed = ok(&mut session, &Operation::commit()).await;
    assert!(committed.is_ok());
    assert!(committed.content().iter().any(|element| element.to_xml().contains("commit-success")));
    assert!(committed.errors().iter().all(|error| error.severity == Severity::Warning));
    ok(&mut session, &Operation::unlock(Datastore::Candidate)).await;
}

#[tokio::test]
async fn junos_keeps_a_provisional_commit_when_its_session_ends() {
    let one = One::start_as(Personality::JUNOS).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &provisional(60, None)).await;
    let number = session.session_id();
    drop(session);
    let mut second = one.connect().await;
    assert_ne!(second.session_id(), number);
    assert!(one.device.has_pending_commit());
    ok(&mut second, &Operation::commit()).await;
    assert_eq!(one.kinds(), ["provisional", "confirmed"]);
    assert_eq!(read_mtu(&mut second).await.as_deref(), Some("1500"));
}

#[tokio::test]
async fn junos_reports_what_is_inactive() {
    let directory = StateDirectory::new();
    let one = One::start_as_in(directory, Personality::JUNOS).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    let inactive = format!(
        "<interfaces xmlns='{SIM}'><interface inactive='inactive'><name>ge-0</name>\
         <description inactive='inactive'>x</description></interface></interfaces>"
    );
    ok(&mut session, &edit(&[&inactive])).await;
    ok(&mut session, &Operation::commit()).await;
    let shown = running(&mut session).await;
    let top = shown.child(SIM, "interfaces").unwrap();
    let ge0 = top.own_child("interface").unwrap();
    assert_eq!(ge0.attribute("inactive"), Some("inactive"));
    assert_eq!(ge0.own_child("description").unwrap().attribute("inactive"), Some("inactive"));
    assert_eq!(ge0.own_child("mtu").unwrap().attribute("inactive"), None);
    assert!(top.attributes().iter().any(|a| a.namespace.contains("juniper") && &*a.name == "commit-seconds"));

    // Also through a filter that names single leaves.
    let filter =
        format!("<interfaces xmlns='{SIM}'><interface><name>ge-0</name><mtu/></interface></interfaces>");
    let filter = Filter::Subtree(vec![parse(&filter)]);
    let narrow = ok(&mut session, &Operation::get_config(Datastore::Running, Some(&filter))).await;
    assert!(narrow.data().unwrap().to_xml().contains("<interface inactive=\"inactive\">"));

    let active = format!(
        "<interfaces xmlns='{SIM}'><interface active='active'><name>ge-0</name></interface></interfaces>"
    );
    ok(&mut session, &edit(&[&active])).await;
    ok(&mut session, &Operation::commit()).await;
    let shown = running(&mut session).await;
    let ge0 = shown.child(SIM, "interfaces").unwrap().own_child("interface").unwrap();
    assert_eq!(ge0.attribute("inactive"), None);
    one.assert_journal_agrees();
    // A start on the journal knows the marks.
    let directory = one.directory;
    one.simulator.shutdown().await;
    let again = One::start_as_in(directory, Personality::JUNOS).await;
    let mut session = again.connect().await;
    assert!(running(&mut session).await.to_xml().contains("<description inactive=\"inactive\">"));
}

#[tokio::test]
async fn huawei_answers_in_parts_until_no_set_id_comes() {
    let one = One::start_as(Personality { entries_per_reply: Some(2), ..Personality::HUAWEI_VRP }).await;
    let mut session = one.connect().await;
    let interfaces: String = (0..5).map(|n| format!("<interface><name>ge-{n}</name></interface>")).collect();
    ok(&mut session, &edit(&[&format!("<interfaces xmlns='{SIM}'>{interfaces}</interfaces>")])).await;
    ok(&mut session, &Operation::commit()).await;
    let mut names = Vec::new();
    let mut part = reply(&mut session, &Operation::get_config(Datastore::Running, None)).await;
    loop {
        let top = part.data().unwrap().child(SIM, "interfaces").unwrap();
        names.extend(top.children().map(|entry| entry.own_child("name").unwrap().text().into_owned()));
        let Some(set) = part.attribute("set-id").map(str::to_owned) else { break };
        let next = Element::new("http://www.huawei.com/netconf/capability/base/1.0", "get-next");
        part = reply(&mut session, &Operation::new(next.with_attribute("set-id", set))).await;
    }
    assert_eq!(names, ["ge-0", "ge-1", "ge-2", "ge-3", "ge-4"]);
}

#[tokio::test]
async fn defaults_are_reported_as_asked_for() {
    let modes = [
        (Personality::HUAWEI_VRP, None, Some("<enabled>true</enabled>"), true),
        (Personality::HUAWEI_VRP, Some(WithDefaultsMode::Trim), None, false),
        (
            Personality::HUAWEI_VRP,
            Some(WithDefaultsMode::ReportAllTagged),
            Some(":default=\"true\">false"),
            true,
        ),
        (Personality::TRIM, None, None, false),
        (Personality::TRIM, Some(WithDefaultsMode::Explicit), Some("<enabled>true</enabled>"), false),
        (Personality::NETOPEER2, None, Some("<enabled>true</enabled>"), false),
        (Personality::NETOPEER2, Some(WithDefaultsMode::ReportAll), Some("<enabled>true</enabled>"), true),
    ];
    for (personality, mode, enabled, unset) in modes {
        let one = One::start_as(personality).await;
        let mut session = one.connect().await;
        ok(&mut session, &interface("<enabled>true</enabled>")).await;
        ok(&mut session, &Operation::commit()).await;
        let mut get = Operation::get_config(Datastore::Running, None);
        if let Some(mode) = mode {
            get = get.with_defaults(mode);
        }
        let shown = ok(&mut session, &get).await.into_data().unwrap().to_xml();
        let case = format!("{} {mode:?}: {shown}", personality.name);
        assert_eq!(shown.contains("<enabled"), enabled.is_some(), "{case}");
        assert!(enabled.is_none_or(|text| shown.contains(text)), "{case}");
        assert_eq!(shown.contains("<vlan-tagging"), unset, "{case}");
    }
    let one = One::start_as(Personality::HUAWEI_VRP).await;
    let mut session = one.connect().await;
    let get = Operation::get_config(Datastore::Running, None).with_defaults(WithDefaultsMode::Explicit);
    assert_eq!(tag(&mut session, &get).await, "invalid-value");
}

#[tokio::test]
async fn iosxe_loses_at_a_reboot_what_was_not_saved() {
    let one = One::start_as(Personality::IOSXE).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &Operation::commit()).await;
    let save = Operation::new(Element::new("http://cisco.com/yang/cisco-ia", "save-config"));
    let saved = ok(&mut session, &save).await;
    assert_eq!(saved.content()[0].text(), "Save running-config successful");
    ok(&mut session, &mtu(9000)).await;
    ok(&mut session, &Operation::commit()).await;
    one.device.reboot().await.unwrap();
    let mut session = one.connect().await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
    assert_eq!(one.kinds(), ["committed", "saved", "committed", "reverted"]);
    one.assert_journal_agrees();
}

#[tokio::test]
async fn startup_is_what_a_start_begins_with() {
    let one = One::start_as_in(StateDirectory::new(), Personality::NETOPEER2).await;
    let mut session = one.connect().await;
    ok(&mut session, &mtu(1500)).await;
    ok(&mut session, &Operation::commit()).await;
    ok(&mut session, &Operation::copy_config(Datastore::Startup, Datastore::Running)).await;
    ok(&mut session, &mtu(9000)).await;
    ok(&mut session, &Operation::commit()).await;
    let startup = ok(&mut session, &Operation::get_config(Datastore::Startup, None)).await;
    assert!(startup.data().unwrap().to_xml().contains("<mtu>1500</mtu>"));
    let directory = one.directory;
    one.simulator.shutdown().await;
    let again = One::start_as_in(directory, Personality::NETOPEER2).await;
    let mut session = again.connect().await;
    assert_eq!(read_mtu(&mut session).await.as_deref(), Some("1500"));
    let default = One::start().await;
    let mut session = default.connect().await;
    let get = Operation::get_config(Datastore::Startup, None);
    assert_eq!(tag(&mut session, &get).await, "operation-not-supported");
}

#[tokio::test]
async fn secrets_and_addresses_come_back_as_the_device_keeps_them() {
    let key = |personality| async move {
        let one = One::start_as(personality).await;
        let mut session = one.connect().await;
        ok(&mut session, &line(7)).await;
        let secret = format!(
            "<pseudowires xmlns='{SIM}'><pseudowire><name>p7</name>\
             <authentication-key>s3cr3t</authentication-key></pseudowire></pseudowires>"
        );
        ok(&mut session, &edit(&[&secret])).await;
        let address = "<unit><id>7</id><ipv6><address>2001:DB8:0:0::1</address>\
                       <prefix-length>064</prefix-length></ipv6></unit>";
        ok(&mut session, &interface(address)).await;
        ok(&mut session, &Operation::commit()).await;
        running(&mut session).await.to_xml()
    };
    assert!(key(Personality::DEFAULT).await.contains("<authentication-key>s3cr3t<"));
    for (personality, kept) in [(Personality::JUNOS, "$9$"), (Personality::IOSXE, "7 ")] {
        let shown = key(personality).await;
        assert!(
            shown.contains(&format!("<authentication-key>{kept}")) && !shown.contains("s3cr3t"),
            "{shown}"
        );
    }
    let netopeer2 = key(Personality::NETOPEER2).await;
    assert!(netopeer2.contains("<address>2001:db8::1</address><prefix-length>64<"), "{netopeer2}");
    let yuma = key(Personality::YUMA).await;
    assert!(yuma.contains("<address>2001:DB8:0:0::1</address><prefix-length>64<"), "{yuma}");
    let clixon = key(Personality::CLIXON).await;
    assert!(clixon.contains("<address>2001:DB8:0:0::1</address><prefix-length>064<"), "{clixon}");
}

#[tokio::test]
async fn iosxr_refuses_the_lock_of_running_for_good() {
    let one = One::start_as(Personality::IOSXR).await;
    let mut session = one.connect().await;
    assert_eq!(tag(&mut session, &Operation::lock(Datastore::Running)).await, "operation-not-supported");
    ok(&mut session, &Operation::lock(Datastore::Candidate)).await;
    ok(&mut session, &invalid()).await;
    let refused = result(&mut session, &Operation::commit()).await.unwrap_err();
    assert_eq!(refused.0[0].error_type, Some(ErrorType::Application));
}

#[tokio::test]
async fn personality_and_holds_are_reached_from_outside() {
    let directory = StateDirectory::new();
    let options = turnup_device_sim::Options {
        control: Some("127.0.0.1:0".parse().unwrap()),
        ..turnup_device_sim::Options::new(
            turnup_device_sim::DeviceSpec::many("a", 1, 0),
            directory.path(),
            crate::device::PASSWORD.to_owned().into(),
        )
    };
    let simulator = Simulator::start(options).await.unwrap();
    let address = simulator.control_address().unwrap();
    let ask = |command: Command| async move {
        control::call(address, &command, Duration::from_secs(5)).await.unwrap()
    };
    let set = |name: &str| Command::SetPersonality { device: "*".to_owned(), personality: name.to_owned() };
    assert_eq!(ask(set("clixon")).await, control::Answer::Done);
    assert_eq!(simulator.device("sim-a-1").unwrap().personality(), Personality::CLIXON);
    assert!(matches!(ask(set("clicks")).await, control::Answer::Error(text) if text.contains("clixon")));
    let mut session = crate::device::connect(&simulator.device("sim-a-1").unwrap()).await.unwrap();
    ok(&mut session, &Operation::lock(Datastore::Candidate)).await;
    let control::Answer::Holds(holds) = ask(Command::Holds { device: "sim-a-1".to_owned() }).await else {
        panic!("no answer to holds")
    };
    assert_eq!(holds.candidate_lock, Some(session.session_id()));
    assert!(Journal::read(directory.path()).unwrap().is_empty());
}
