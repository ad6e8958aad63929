use std::collections::HashMap;

use super::*;
use crate::model::NoModel;
use crate::xml::{Limits, parse_str};

/// The users of the examples of RFC 6241 §6.4.
const USERS: &str = r#"<data><top xmlns="urn:e"><users>
    <user><name>root</name><type>superuser</type><full-name>Charlie Root</full-name><company-info><dept>1</dept><id>1</id></company-info></user>
    <user><name>fred</name><type>admin</type><full-name>Fred Flintstone</full-name><company-info><dept>2</dept><id>2</id></company-info></user>
    <user><name>barney</name><type>admin</type><full-name>Barney Rubble</full-name><company-info><dept>2</dept><id>3</id></company-info></user>
  </users><groups><group>g</group></groups></top><other xmlns="urn:o" kind="x"/></data>"#;

fn parsed(text: &str) -> Element {
    parse_str(text, &Limits::default()).unwrap()
}

fn filtered(filter: &str, keys: &dyn Model) -> Element {
    subtree(&parsed(USERS), &parsed(&format!("<filter>{filter}</filter>")), keys)
}

fn check(filter: &str, expected: &str) {
    assert_eq!(filtered(filter, &NoModel), parsed(&format!("<data>{expected}</data>")), "{filter}");
}

fn all() -> Vec<Element> {
    parsed(USERS).into_children().collect()
}

#[test]
fn an_empty_filter_selects_nothing() {
    check("", "");
}

#[test]
fn selects_whole_subtrees_by_name_and_namespace() {
    assert_eq!(filtered(r#"<top xmlns="urn:e"/>"#, &NoModel).children().collect::<Vec<_>>(), [&all()[0]]);
    assert_eq!(filtered("<top/>", &NoModel).children().count(), 1, "no namespace matches any");
    check(r#"<top xmlns="urn:o"/>"#, "");
    check(
        r#"<top xmlns="urn:e"><groups/></top>"#,
        r#"<top xmlns="urn:e"><groups><group>g</group></groups></top>"#,
    );
    check(r#"<top xmlns="urn:e"><nothing/></top>"#, "");
}

#[test]
fn matches_attributes() {
    check(r#"<other xmlns="urn:o" kind="x"/>"#, r#"<other xmlns="urn:o" kind="x"/>"#);
    check(r#"<other xmlns="urn:o" kind="y"/>"#, "");
}

#[test]
fn selects_parts_of_every_entry() {
    check(
        r#"<top xmlns="urn:e"><users><user><name/></user></users></top>"#,
        r#"<top xmlns="urn:e"><users><user><name>root</name></user><user><name>fred</name></user><user><name>barney</name></user></users></top>"#,
    );
}

#[test]
fn matches_content_of_one_entry() {
    check(
        r#"<top xmlns="urn:e"><users><user><name>fred</name></user></users></top>"#,
        r#"<top xmlns="urn:e"><users><user><name>fred</name><type>admin</type><full-name>Fred Flintstone</full-name><company-info><dept>2</dept><id>2</id></company-info></user></users></top>"#,
    );
    check(
        r#"<top xmlns="urn:e"><users><user><name> fred </name><type/><full-name/></user></users></top>"#,
        r#"<top xmlns="urn:e"><users><user><name>fred</name><type>admin</type><full-name>Fred Flintstone</full-name></user></users></top>"#,
    );
    check(r#"<top xmlns="urn:e"><users><user><name>wilma</name><type/></user></users></top>"#, "");
}

#[test]
fn all_content_matches_of_a_set_must_hold() {
    check(
        r#"<top xmlns="urn:e"><users><user><name>fred</name><type>superuser</type><full-name/></user></users></top>"#,
        "",
    );
    check(
        r#"<top xmlns="urn:e"><users><user><type>admin</type><company-info><dept>2</dept><id/></company-info></user></users></top>"#,
        r#"<top xmlns="urn:e"><users><user><type>admin</type><company-info><dept>2</dept><id>2</id></company-info></user><user><type>admin</type><company-info><dept>2</dept><id>3</id></company-info></user></users></top>"#,
    );
}

#[test]
fn several_entries_at_once() {
    check(
        r#"<top xmlns="urn:e"><users><user><name>root</name><type/></user><user><name>fred</name><company-info><id/></company-info></user><user><name>fred</name><type/></user></users></top>"#,
        r#"<top xmlns="urn:e"><users><user><name>root</name><type>superuser</type></user><user><name>fred</name><type>admin</type><company-info><id>2</id></company-info></user></users></top>"#,
    );
}

#[test]
fn returns_keys_along_with_what_was_selected() {
    let keys: HashMap<String, Vec<String>> = [("user".to_owned(), vec!["name".to_owned()])].into();
    let found = filtered(
        r#"<top xmlns="urn:e"><users><user><type>superuser</type><full-name/></user></users></top>"#,
        &keys,
    );
    let expected = r#"<data><top xmlns="urn:e"><users><user><name>root</name><type>superuser</type><full-name>Charlie Root</full-name></user></users></top></data>"#;
    assert_eq!(found, parsed(expected));
    let nothing = filtered(r#"<top xmlns="urn:e"><users><user><nothing/></user></users></top>"#, &keys);
    assert_eq!(nothing, parsed("<data/>"));
}
