//! What a definition says about trying its orders again.

use turnup_core::retry::RetryChanges;

use crate::{definition, folder::Folder};

fn folder(retry: &str) -> Folder {
    let yaml = format!(
        "name: any\nversion: 1\ntitle: Any\nendpoints: {{device: {{}}}}\n\
         platforms: {{sim: {{template: sim.xml.j2, owns: [a/b]}}}}\n{retry}\n"
    );
    Folder::with(&[("any/definition.yaml", &yaml), ("any/sim.xml.j2", "<a xmlns='urn:x'><b>x</b></a>")])
}

#[test]
fn a_definition_says_what_is_different_for_its_orders() {
    for (yaml, wanted) in [
        ("", RetryChanges::default()),
        ("retry: {attempts: 1}", RetryChanges { attempts: Some(1), ..RetryChanges::default() }),
        (
            "retry: {attempts: 6, first: 30s, max: 10m, total: 6h}",
            RetryChanges {
                attempts: Some(6),
                first_ms: Some(30_000),
                max_ms: Some(600_000),
                total_ms: Some(21_600_000),
            },
        ),
    ] {
        let catalogue = folder(yaml).load().unwrap_or_else(|mistakes| panic!("{yaml}: {mistakes:?}"));
        let any = definition(&catalogue, "any");
        assert_eq!(*any.retry(), wanted, "{yaml}");
        let shown = serde_json::to_value(any.summary()).unwrap();
        assert_eq!(shown.get("retry").is_some(), wanted != RetryChanges::default(), "{yaml}: {shown}");
    }
}

#[test]
fn mistakes_have_their_line() {
    for (yaml, wanted) in [
        ("retry: {attempts: 0}", "attempts must be a whole number from 1 to 100"),
        ("retry: {attempts: 101}", "attempts must be a whole number from 1 to 100"),
        ("retry: {first: 0s}", "\"0s\" is no time for first"),
        ("retry: {total: 31d}", "\"31d\" is no time for total"),
        ("retry: {max: 300}", "max must be a text"),
        ("retry: {often: 3}", "in 'retry' there is no key \"often\""),
        ("retry: 3", "'retry' must be a map"),
    ] {
        let mistakes = folder(yaml).mistakes();
        let found = mistakes.first().cloned().unwrap_or_default();
        assert!(
            found.starts_with("any/definition.yaml:6:") && found.contains(wanted),
            "{yaml}: {mistakes:?}"
        );
    }
}
