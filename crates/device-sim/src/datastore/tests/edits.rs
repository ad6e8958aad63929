use super::*;

const LINE: &str = r#"
<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name>
  <unit><id>100</id><vlan-id>100</vlan-id></unit></interface></interfaces>
<pseudowires xmlns="urn:turnup:sim"><pseudowire><name>p</name><vc-id>7</vc-id><peer>pe2</peer>
  <interface>ge-0</interface><unit>100</unit></pseudowire></pseudowires>"#;

fn with_line() -> Datastores {
    let mut device = device();
    device.edit_candidate(A, edit(&config(LINE))).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    device
}

/// Applies an edit to the candidate; the result is its errors as tag, app-tag and path.
fn errors_of(device: &mut Datastores, edit: Edit<'_>) -> Vec<(String, Option<String>, Option<String>)> {
    let errors = device.edit_candidate(A, edit).err().unwrap_or_default();
    errors.into_iter().map(|e| (e.tag.as_str().to_owned(), e.app_tag, e.path)).collect()
}

fn first(device: &mut Datastores, content: &str) -> String {
    let errors = errors_of(device, edit(&config(content)));
    let (tag, app_tag, path) = errors.into_iter().next().unwrap_or_default();
    [Some(tag), app_tag, path].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_wrong_with_an_edit_is_named() {
    let sim = |inside: &str| format!(r#"<interfaces xmlns="urn:turnup:sim">{inside}</interfaces>"#);
    let entry = |inside: &str| sim(&format!("<interface><name>ge-0</name>{inside}</interface>"));
    let other = |inside: &str| sim(&format!("<interface><name>ge-9</name>{inside}</interface>"));
    let wire = |inside: &str| {
        format!(r#"<pseudowires xmlns="urn:turnup:sim"><pseudowire>{inside}</pseudowire></pseudowires>"#)
    };
    let ge0 = "/interfaces/interface[name='ge-0']";
    let cases = [
        (r#"<x xmlns="urn:other"/>"#.to_owned(), "unknown-namespace".to_owned()),
        (r#"<x xmlns="urn:turnup:sim"/>"#.to_owned(), "unknown-element".to_owned()),
        (entry("<speed>1</speed>"), format!("unknown-element {ge0}")),
        (entry("<oper-status>up</oper-status>"), format!("unknown-element {ge0}/oper-status")),
        (entry("<mtu>575</mtu>"), format!("invalid-value {ge0}/mtu")),
        (entry("<mtu>many</mtu>"), format!("invalid-value {ge0}/mtu")),
        (entry("<enabled>yes</enabled>"), format!("invalid-value {ge0}/enabled")),
        (entry("<mtu><x/></mtu>"), format!("bad-element {ge0}/mtu")),
        (entry("loose text"), format!("bad-element {ge0}")),
        (sim("<interface><mtu>1500</mtu></interface>"), "missing-element /interfaces/interface".to_owned()),
        (
            sim("<interface><name>a</name><name>b</name></interface>"),
            "bad-element /interfaces/interface".to_owned(),
        ),
        (
            sim(&format!("<interface><name>{}</name></interface>", "x".repeat(65))),
            "invalid-value /interfaces/interface".to_owned(),
        ),
        (entry(r#"<mtu nc:operation="erase">1500</mtu>"#), format!("bad-attribute {ge0}/mtu")),
        (entry(r#"<mtu operation="delete">1500</mtu>"#), format!("unknown-attribute {ge0}/mtu")),
        (entry(r#"<mtu nc:operation="delete"/>"#), format!("data-missing {ge0}/mtu")),
        (entry(r#"<mtu nc:operation="remove"/>"#), String::new()),
        (
            sim(r#"<interface nc:operation="create"><name>ge-0</name></interface>"#),
            format!("data-exists {ge0}"),
        ),
        (
            sim(r#"<interface nc:operation="delete"><name>ge-9</name></interface>"#),
            "data-missing /interfaces/interface[name='ge-9']".to_owned(),
        ),
        (other(""), String::new()),
        (
            sim(r#"<interface><name nc:operation="delete">ge-0</name></interface>"#),
            format!("bad-element {ge0}/name"),
        ),
        (
            wire("<name>q</name><vc-id>1</vc-id><peer>x</peer><interface>ge-0</interface><unit>5</unit>"),
            "operation-failed must-violation /pseudowires/pseudowire[name='q']".to_owned(),
        ),
        (
            wire("<name>q</name><peer>x</peer><interface>ge-0</interface><unit>100</unit>"),
            "data-missing /pseudowires/pseudowire[name='q']/vc-id".to_owned(),
        ),
        (
            entry(r#"<unit nc:operation="remove"><id>100</id></unit>"#),
            "operation-failed must-violation /pseudowires/pseudowire[name='p']".to_owned(),
        ),
        (
            r#"<interfaces xmlns="urn:turnup:sim" nc:operation="delete"/>"#.to_owned(),
            "operation-failed must-violation /pseudowires/pseudowire[name='p']".to_owned(),
        ),
        (wire("<name>p</name><unit>101</unit>"), {
            "operation-failed must-violation /pseudowires/pseudowire[name='p']".to_owned()
        }),
    ];
    for (content, expected) in cases {
        let mut device = with_line();
        let before = device.running().clone();
        assert_eq!(first(&mut device, &content), expected, "{content}");
        if !expected.is_empty() {
            assert!(!device.candidate_is_changed(), "a refused edit left something behind: {content}");
        }
        assert_eq!(*device.running(), before);
    }
}

#[test]
fn all_faults_of_content_are_reported_at_once() {
    let config = interfaces("<interface><name>a</name><mtu>1</mtu><enabled>2</enabled></interface>");
    assert_eq!(errors_of(&mut device(), edit(&config)).len(), 2);
}

#[test]
fn a_unit_may_go_together_with_what_uses_it() {
    let mut device = with_line();
    let content = r#"
        <interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name>
          <unit nc:operation="remove"><id>100</id></unit></interface></interfaces>
        <pseudowires xmlns="urn:turnup:sim">
          <pseudowire nc:operation="remove"><name>p</name></pseudowire></pseudowires>"#;
    device.edit_candidate(A, edit(&config(content))).unwrap();
    // Once more is harmless.
    device.edit_candidate(A, edit(&config(content))).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    assert_eq!(device.running().len(), 1, "only the interface is left: {:?}", device.running());
    assert_eq!(leaf(&device, "/interfaces/interface[name='ge-0']/name").as_deref(), Some("ge-0"));
}

#[test]
fn a_pseudowire_may_move_while_its_old_unit_goes() {
    let mut device = with_line();
    let content = r#"
        <interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name>
          <unit nc:operation="remove"><id>100</id></unit><unit><id>200</id></unit></interface></interfaces>
        <pseudowires xmlns="urn:turnup:sim"><pseudowire><name>p</name><unit>200</unit></pseudowire></pseudowires>"#;
    device.edit_candidate(A, edit(&config(content))).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    let remove_new = interfaces(
        r#"<interface><name>ge-0</name><unit nc:operation="remove"><id>200</id></unit></interface>"#,
    );
    assert_eq!(tag(device.edit_candidate(A, edit(&remove_new))), "operation-failed");
}

#[test]
fn replace_takes_away_what_isnt_mentioned() {
    let mut device = device();
    let first = interfaces("<interface><name>a</name><mtu>1500</mtu><unit><id>1</id></unit></interface>");
    device.edit_candidate(A, edit(&first)).unwrap();
    let replace =
        interfaces(r#"<interface nc:operation="replace"><name>a</name><enabled>true</enabled></interface>"#);
    device.edit_candidate(A, edit(&replace)).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    let paths: Vec<String> = device.running().keys().map(Path::to_string).collect();
    assert_eq!(paths, ["/interfaces/interface[name='a']/name", "/interfaces/interface[name='a']/enabled"]);
    // To replace all with the same changes nothing.
    let all = interfaces("<interface><name>a</name><enabled>true</enabled></interface>");
    let by_default = Edit { default_operation: DefaultOperation::Replace, ..edit(&all) };
    device.edit_candidate(A, by_default).unwrap();
    assert!(!device.candidate_is_changed());
}

#[test]
fn default_operation_none_changes_only_what_says_so() {
    let mut device = with_line();
    let none = |config| Edit { default_operation: DefaultOperation::None, ..edit(config) };
    let content = interfaces(
        r#"<interface><name>ge-0</name><unit><id>100</id><mtu nc:operation="merge">9000</mtu></unit></interface>"#,
    );
    device.edit_candidate(A, none(&content)).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
    assert_eq!(
        leaf(&device, "/interfaces/interface[name='ge-0']/unit[id='100']/mtu").as_deref(),
        Some("9000")
    );
    let absent = interfaces("<interface><name>ge-1</name></interface>");
    assert_eq!(tag(device.edit_candidate(A, none(&absent))), "data-missing");
}

#[test]
fn error_options_decide_what_stays() {
    let content = interfaces(
        r#"<interface><name>a</name></interface>
           <interface nc:operation="delete"><name>missing</name></interface>
           <interface><name>b</name></interface>"#,
    );
    let names = |option| {
        let mut device = device();
        let errors = errors_of(&mut device, Edit { error_option: option, ..edit(&content) });
        assert_eq!(errors.len(), 1);
        commit(&mut device, A, &Commit::default(), Instant::now());
        device.running().values().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(ErrorOption::RollbackOnError), Vec::<String>::new());
    assert_eq!(names(ErrorOption::StopOnError), ["a"]);
    assert_eq!(names(ErrorOption::ContinueOnError), ["a", "b"]);
}

#[test]
fn test_options_decide_when_constraints_count() {
    let wire = config(
        r#"<pseudowires xmlns="urn:turnup:sim"><pseudowire><name>p</name><vc-id>1</vc-id><peer>x</peer>
           <interface>ge-0</interface><unit>1</unit></pseudowire></pseudowires>"#,
    );
    let unit = interfaces("<interface><name>ge-0</name><unit><id>1</id></unit></interface>");
    let option = |test_option, config| Edit { test_option, ..edit(config) };
    let mut device = device();
    assert_eq!(tag(device.edit_candidate(A, option(TestOption::TestThenSet, &wire))), "operation-failed");
    device.edit_candidate(A, option(TestOption::TestOnly, &unit)).unwrap();
    assert!(!device.candidate_is_changed());
    device.edit_candidate(A, option(TestOption::Set, &wire)).unwrap();
    assert_eq!(tag(device.validate(Source::Datastore(Datastore::Candidate))), "operation-failed");
    assert_eq!(tag(device.plan_commit(A, &Commit::default(), Instant::now())), "operation-failed");
    device.edit_candidate(A, option(TestOption::Set, &unit)).unwrap();
    device.validate(Source::Datastore(Datastore::Candidate)).unwrap();
    commit(&mut device, A, &Commit::default(), Instant::now());
}

#[test]
fn running_can_be_edited_directly_and_stays_valid() {
    let mut device = device();
    let unit = interfaces("<interface><name>ge-0</name><mtu>1500</mtu></interface>");
    let (transition, errors) = device.plan_edit_running(A, edit(&unit));
    assert!(errors.is_empty());
    device.apply(transition.unwrap());
    assert_eq!(leaf(&device, MTU).as_deref(), Some("1500"));
    let half = config(
        r#"<pseudowires xmlns="urn:turnup:sim"><pseudowire><name>p</name></pseudowire></pseudowires>"#,
    );
    let set =
        Edit { test_option: TestOption::Set, error_option: ErrorOption::ContinueOnError, ..edit(&half) };
    let (transition, errors) = device.plan_edit_running(A, set);
    assert!(transition.is_none() && !errors.is_empty());
    let only = Edit { test_option: TestOption::TestOnly, ..edit(&unit) };
    assert!(matches!(device.plan_edit_running(A, only), (None, errors) if errors.is_empty()));
}

#[test]
fn reads_what_a_filter_selects_with_the_state() {
    let mut device = with_line();
    let read = |device: &Datastores, filter: &str| {
        let filter = config(filter);
        device
            .get(Timestamp::UNIX_EPOCH, Vec::new, Some(&filter))
            .to_xml()
            .replace(r#" xmlns="urn:turnup:sim""#, "")
    };
    let status = r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name><oper-status/></interface></interfaces>"#;
    let wire = r#"<pseudowires xmlns="urn:turnup:sim"><pseudowire><name>p</name><state/></pseudowire></pseudowires>"#;
    assert!(read(&device, status).contains("<name>ge-0</name><oper-status>up</oper-status>"));
    assert!(read(&device, wire).contains("<name>p</name><state>up</state>"));
    let path = Path::parse("/interfaces/interface[name='ge-0']/oper-status").unwrap();
    device.set_state(path.clone(), Some("down")).unwrap();
    assert!(read(&device, status).contains("<oper-status>down</oper-status>"));
    assert!(read(&device, wire).contains("<state>down</state>"), "what it ends on is down");
    device.set_state(path.clone(), None).unwrap();
    assert!(read(&device, wire).contains("<state>up</state>"));
    assert!(device.set_state(path, Some("sideways")).is_err());
    assert!(device.set_state(Path::parse(MTU).unwrap(), Some("1500")).is_err());
    let absent =
        r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-7</name></interface></interfaces>"#;
    assert!(!read(&device, absent).contains("interface>"));
    let config_only = device.get_config(Datastore::Running, None).unwrap().to_xml();
    assert!(!config_only.contains("oper-status") && config_only.contains("<vc-id>7</vc-id>"));
}
