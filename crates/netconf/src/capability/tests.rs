use super::*;

#[test]
fn reads_the_standard_capabilities_in_todays_and_the_legacy_form() {
    let name = |capability: &str| format!("urn:ietf:params:netconf:capability:{capability}");
    let legacy = |capability: &str| format!("urn:ietf:params:xml:ns:netconf:capability:{capability}");
    type Reads = fn(&Capabilities) -> bool;
    let all: [(&str, Reads); 10] = [
        ("candidate:1.0", Capabilities::candidate),
        ("confirmed-commit:1.0", Capabilities::confirmed_commit_1_0),
        ("confirmed-commit:1.1", Capabilities::confirmed_commit_1_1),
        ("validate:1.0", Capabilities::validate),
        ("validate:1.1", Capabilities::validate),
        ("validate:1.1", Capabilities::validate_1_1),
        ("rollback-on-error:1.0", Capabilities::rollback_on_error),
        ("startup:1.0", Capabilities::startup),
        ("writable-running:1.0", Capabilities::writable_running),
        ("xpath:1.0", Capabilities::xpath),
    ];
    for (capability, reads) in all {
        assert!(reads(&Capabilities::new([name(capability)])), "{capability}");
        assert!(reads(&Capabilities::new([format!("\n  {}\n", legacy(capability))])), "{capability}");
        assert!(!reads(&Capabilities::new([name(&format!("{capability}1"))])), "{capability}");
        assert!(!reads(&Capabilities::EMPTY), "{capability}");
    }
    assert!(!Capabilities::new([name("confirmed-commit:1.0")]).confirmed_commit_1_1());
}

#[test]
fn reads_base_versions() {
    let both = Capabilities::new([BASE_1_0, BASE_1_1]);
    assert!(both.base_1_0() && both.base_1_1());
    assert!(Capabilities::new(["urn:ietf:params:xml:ns:netconf:base:1.0"]).base_1_0());
    assert!(!Capabilities::new([BASE_1_1]).base_1_0());
    // A module's namespace is not a version of the protocol beyond what it is.
    assert!(!Capabilities::new(["urn:ietf:params:netconf:base:1.10"]).base_1_1());
}

#[test]
fn reads_parameters() {
    let uri = "urn:ietf:params:netconf:capability:with-defaults:1.0?basic-mode=explicit&also-supported=trim,report-all";
    let with_defaults = Capabilities::new([uri]).with_defaults().unwrap();
    assert_eq!(with_defaults.basic_mode, "explicit");
    assert_eq!(with_defaults.also_supported, ["trim", "report-all"]);

    let capabilities = Capabilities::new([
        "urn:a?module=a&revision=2020-01-01&features=x,y&deviations=dev-a",
        "urn:b?revision=2020-01-01&amp;module=b",
        "urn:not-a-module?x=y",
        "",
    ]);
    let modules = capabilities.modules();
    assert_eq!(modules.len(), 2);
    assert_eq!((modules[0].name.as_str(), modules[0].namespace.as_str()), ("a", "urn:a"));
    assert_eq!(modules[0].features, ["x", "y"]);
    assert_eq!(modules[0].deviations, ["dev-a"]);
    assert_eq!(modules[1].name, "b");
    assert!(capabilities.has("urn:a") && !capabilities.has("urn:c"));
    assert_eq!(capabilities.uris().count(), 3);
}
