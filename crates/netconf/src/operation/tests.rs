use super::*;

const BASE: &str = " xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"";

fn xml(operation: &Operation) -> String {
    operation.element().to_xml().replacen(BASE, "", 1)
}

#[test]
fn writes_the_operations_of_rfc_6241() {
    use Datastore::{Candidate, Running, Startup};
    let expected = [
        (Operation::lock(Candidate), "<lock><target><candidate/></target></lock>"),
        (Operation::unlock(Running), "<unlock><target><running/></target></unlock>"),
        (Operation::get(None), "<get/>"),
        (Operation::get_config(Running, None), "<get-config><source><running/></source></get-config>"),
        (Operation::validate(Candidate), "<validate><source><candidate/></source></validate>"),
        (Operation::commit(), "<commit/>"),
        (Operation::commit_confirming("a<b"), "<commit><persist-id>a&lt;b</persist-id></commit>"),
        (Operation::cancel_commit(None), "<cancel-commit/>"),
        (Operation::cancel_commit(Some("t")), "<cancel-commit><persist-id>t</persist-id></cancel-commit>"),
        (Operation::discard_changes(), "<discard-changes/>"),
        (
            Operation::copy_config(Startup, Running),
            "<copy-config><target><startup/></target><source><running/></source></copy-config>",
        ),
        (Operation::close_session(), "<close-session/>"),
        (Operation::kill_session(7), "<kill-session><session-id>7</session-id></kill-session>"),
    ];
    for (operation, text) in expected {
        assert_eq!(xml(&operation), text);
    }
    assert_eq!(Operation::discard_changes().name(), "discard-changes");
}

#[test]
fn writes_confirmed_commits() {
    let mut commit = ConfirmedCommit { confirm_timeout_s: 120, persist: None, persist_id: None };
    let start = "<commit><confirmed/><confirm-timeout>120</confirm-timeout>";
    assert_eq!(xml(&Operation::commit_confirmed(&commit)), format!("{start}</commit>"));
    commit.persist = Some("new".to_owned());
    commit.persist_id = Some("old".to_owned());
    let ids = "<persist>new</persist><persist-id>old</persist-id>";
    assert_eq!(xml(&Operation::commit_confirmed(&commit)), format!("{start}{ids}</commit>"));
}

#[test]
fn writes_edits_in_the_order_of_the_schema() {
    let edit = EditConfig {
        default_operation: Some(DefaultOperation::None),
        test_option: Some(TestOption::TestThenSet),
        error_option: Some(ErrorOption::RollbackOnError),
        ..EditConfig::new(Datastore::Candidate, [Element::new("urn:a", "a")])
    };
    assert_eq!(
        xml(&Operation::edit_config(edit)),
        "<edit-config><target><candidate/></target><default-operation>none</default-operation>\
         <test-option>test-then-set</test-option><error-option>rollback-on-error</error-option>\
         <config><a xmlns=\"urn:a\"/></config></edit-config>"
    );
    let plain = EditConfig::new(Datastore::Running, []);
    assert_eq!(
        xml(&Operation::edit_config(plain)),
        "<edit-config><target><running/></target><config/></edit-config>"
    );
}

#[test]
fn writes_filters_defaults_and_schemas() {
    let subtree = Filter::Subtree(vec![Element::new("urn:a", "a")]);
    let get = Operation::get(Some(&subtree)).with_defaults(WithDefaultsMode::ReportAll);
    assert_eq!(
        xml(&get),
        "<get><filter type=\"subtree\"><a xmlns=\"urn:a\"/></filter><with-defaults \
         xmlns=\"urn:ietf:params:xml:ns:yang:ietf-netconf-with-defaults\">report-all</with-defaults></get>"
    );
    let xpath = Filter::XPath {
        select: "/a:b[a:c='1']".to_owned(),
        prefixes: vec![("a".to_owned(), "urn:a".to_owned())],
    };
    assert_eq!(
        xml(&Operation::get_config(Datastore::Running, Some(&xpath))),
        "<get-config><source><running/></source>\
         <filter xmlns:a=\"urn:a\" type=\"xpath\" select=\"/a:b[a:c='1']\"/></get-config>"
    );
    assert_eq!(
        Operation::get_schema("mod", Some("2020-01-01")).element().to_xml(),
        "<get-schema xmlns=\"urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring\"><identifier>mod</identifier>\
         <version>2020-01-01</version><format>yang</format></get-schema>"
    );
}
