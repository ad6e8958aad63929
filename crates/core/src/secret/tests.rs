use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    failure::{Detail, ErrorInfo, FailureClass},
    name::DeviceName,
};

fn endpoint(role: &str, device: &str, attributes: Value) -> Endpoint {
    let Value::Object(attributes) = attributes else { panic!("no object") };
    Endpoint { role: role.to_owned(), device: DeviceName::new(device).unwrap(), attributes }
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn values_at_pointers_are_masked() {
    let mut attributes = json!({"name": "x", "a/b": {"key": "k1"}, "users": [{"pw": "p1"}, {"pw": "p2"}]});
    let mut endpoints =
        [endpoint("a", "pe1", json!({"vlan": 7})), endpoint("z", "pe2", json!({"auth": {"key": "k2"}}))];
    let secrets = [
        "/attributes/a~1b/key",
        "/attributes/users/1/pw",
        "/endpoints/1/attributes/auth/key",
        "/endpoints/9/x",
    ];
    mask(&mut attributes, &mut endpoints, &secrets.map(str::to_owned));
    assert_eq!(attributes, json!({"name": "x", "a/b": {"key": MASK}, "users": [{"pw": "p1"}, {"pw": MASK}]}));
    assert_eq!(endpoints[1].attributes, map(json!({"auth": {"key": MASK}})));
    assert_eq!(endpoints[0].attributes, map(json!({"vlan": 7})));
}

#[test]
fn mask_that_is_sent_back_stands_for_the_known_value() {
    let known = map(json!({"password": "old", "name": "x"}));
    let others = [endpoint("a", "pe1", json!({"key": "k1"})), endpoint("z", "pe2", json!({"key": "k2"}))];
    let secrets = ["/attributes/password", "/endpoints/0/attributes/key", "/endpoints/1/attributes/key"]
        .map(str::to_owned);
    let mut attributes = map(json!({"password": MASK, "name": "y"}));
    // In another order, and one on another device.
    let mut endpoints =
        [endpoint("z", "pe2", json!({"key": MASK})), endpoint("z", "pe3", json!({"key": MASK}))];
    let missing = unmask(&mut attributes, &mut endpoints, &secrets, Some((&known, &others)));
    assert_eq!(missing, Vec::<String>::new());
    assert_eq!(attributes, map(json!({"password": "old", "name": "y"})));
    assert_eq!(endpoints[0].attributes["key"], "k2");
    assert_eq!(endpoints[1].attributes["key"], "k2", "the endpoint at the same place with the same role");
    let mut attributes = map(json!({"password": MASK}));
    assert_eq!(unmask(&mut attributes, &mut [], &secrets[..1], None), ["/attributes/password"]);
    let mut attributes = map(json!({"password": "new"}));
    assert!(unmask(&mut attributes, &mut [], &secrets[..1], Some((&known, &others))).is_empty());
    assert_eq!(attributes["password"], "new", "a value that is given counts");
}

#[test]
fn values_are_masked_wherever_they_stand() {
    let redactor = Redactor::new(["hunter2&<é>", "$0$winter-is-coming"]);
    for (text, wanted) in [
        ("'hunter2&<é>' is too short", "'(secret)' is too short"),
        ("value hunter2&amp;&lt;é&gt; refused", "value (secret) refused"),
        ("$0$winter-is-coming!", "(secret)!"),
        ("got winter-is-coming.", "got (secret)."),
        ("value \"winter-i...\" is no hash", "value \"(secret)...\" is no hash"),
        ("winter is here", "winter is here"),
    ] {
        assert_eq!(redactor.text(text), wanted);
    }
    assert_eq!(format!("{redactor:?}").find("hunter"), None);
}

#[test]
fn short_value_withholds_only_texts_that_hold_it_as_a_word() {
    let redactor = Redactor::new(["a", "7x"]);
    assert_eq!(redactor.text("data is invalid"), "data is invalid");
    assert_eq!(redactor.text("'a' is too short"), WITHHELD);
    assert_eq!(redactor.text("key=7x"), WITHHELD);
    assert_eq!(redactor.text(" a "), MASK);
    assert_eq!(Redactor::new(["<"]).text("x < y"), WITHHELD);
    assert!(Redactor::new(["", " "]).is_empty());
}

#[test]
fn all_texts_of_a_failure_are_cleaned() {
    let secret = "s3cr3t-value";
    let failure = Failure {
        path: Some(format!("/user[password='{secret}']")),
        error_tag: Some(secret.to_owned()),
        error_app_tag: Some(secret.to_owned()),
        error_info: vec![ErrorInfo { name: "bad-element".to_owned(), value: secret.to_owned() }],
        details: vec![Detail { title: "x".to_owned(), text: secret.to_owned() }],
        ..Failure::new(FailureClass::Invalid, "edit-config", format!("{secret} is bad"))
    };
    let cleaned = Redactor::new([secret]).failures(vec![failure]);
    let text = serde_json::to_string(&cleaned).unwrap();
    assert!(!text.contains(secret) && text.contains("(secret) is bad"), "{text}");
}

proptest! {
    /// Whatever the secret is made of, no cleaned text holds it.
    #[test]
    fn cleaned_text_never_holds_the_secret(
        secret in "[a-zA-Z0-9<>&\"'$.*+?^(){}\\[\\]|\\\\ äß漢🙂-]{4,40}",
        before in "[a-z '\"<>]{0,20}",
        after in "[a-z '\"<>]{0,20}",
    ) {
        prop_assume!(secret.trim().chars().count() >= 4);
        let secret = secret.trim();
        let redactor = Redactor::new([secret]);
        prop_assume!(!MASK.contains(secret) && !format!("{before}{MASK}{after}").contains(secret));
        for text in [
            format!("{before}{secret}{after}"),
            format!("{before}{}{after}", xml(secret)),
            format!("{before}{secret:?}{after}{secret}"),
            format!("{before}{}{after}", Value::from(secret)),
        ] {
            let cleaned = redactor.text(&text);
            prop_assert!(!cleaned.contains(secret), "{} in {}", secret, cleaned);
            prop_assert!(!cleaned.contains(&xml(secret)), "{} in {}", secret, cleaned);
        }
    }

    /// A short secret turns no text into something that tells where it was.
    #[test]
    fn short_secret_is_no_word_of_a_cleaned_text(secret in "[a-z0-9]{1,3}", text in "[a-z0-9 ='\"]{0,40}") {
        let cleaned = Redactor::new([&secret]).text(&text).into_owned();
        prop_assert!(
            cleaned == WITHHELD || cleaned == MASK || !has_word(&cleaned, &secret),
            "{} in {}", secret, cleaned
        );
    }
}
