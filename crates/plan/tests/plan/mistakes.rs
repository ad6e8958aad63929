//! Bad definitions: every mistake with file and line.

use crate::folder::Folder;

const TEMPLATE: &str = "<a xmlns='urn:x'><b>{{ attributes.name }}</b></a>";

const GOOD: &str = "name: good
version: 1
title: Good
attributes: {properties: {name: {type: string}}, required: [name]}
endpoints: {device: {}}
platforms:
  sim: {template: sim.xml.j2, keys: {}, owns: [a/b]}
example:
  attributes: {name: x}
  endpoints: [{role: device, device: d1}]
";

/// Mistakes after replacing a part of the good definition.
fn after(replace: &str, by: &str) -> Vec<String> {
    assert!(GOOD.contains(replace), "{replace}");
    let yaml = GOOD.replace(replace, by);
    Folder::with(&[("good/definition.yaml", &yaml), ("good/sim.xml.j2", TEMPLATE)]).mistakes()
}

#[test]
fn a_good_one_is_accepted() {
    let folder = Folder::with(&[
        ("good/definition.yaml", GOOD),
        ("good/sim.xml.j2", TEMPLATE),
        ("README.md", "not a definition"),
        (".git/config", "not a definition"),
    ]);
    assert_eq!(folder.load().unwrap().iter().count(), 1);
}

#[test]
fn all_mistakes_of_all_definitions_at_once() {
    let bad = "name: other
version: 0
titel: Bad
attributes:
  properties:
    mtu: {type: integer, maximun: 9000}
    vlan: {type: intger}
endpoints:
  a: {min: 2, mx: 3}
platforms:
  sim:
    template: ../good/sim.xml.j2
    owns: [a/b, a]
  junos:
    template: junos.xml.j2
    keys: {interface: name}
";
    let folder =
        Folder::with(&[("bad/definition.yaml", bad), ("worse/definition.yaml", "- 1\n"), ("empty/x", "")]);
    let mistakes = folder.mistakes();
    let expected = [
        "bad/definition.yaml:1: the folder of definition other must be named other too",
        "bad/definition.yaml:1: the key \"title\" is missing",
        "bad/definition.yaml:2: version must be a whole number from 1 to 2147483647",
        "bad/definition.yaml:3: in a definition there is no key \"titel\"; did you mean \"title\"?",
        "bad/definition.yaml:6: JSON Schema has no keyword \"maximun\"; did you mean \"maximum\"?",
        "bad/definition.yaml:7: \"intger\" is no type; use array, boolean, integer, null, number, object or string",
        "bad/definition.yaml:9: in endpoint role \"a\" there is no key \"mx\"; known are title, min, max, attributes, resources",
        "bad/definition.yaml:9: role \"a\" has a min of 2 and a max of 1",
        "bad/definition.yaml:12: \"../good/sim.xml.j2\" must be the name of a file in the definition's own folder",
        "bad/definition.yaml:13: \"a/b\" is owned already with \"a\"; leave one out",
        "bad/definition.yaml:14: the key \"owns\" is missing",
        "bad/definition.yaml:16: the keys of list \"interface\" must be a list of at least one name",
        "empty/definition.yaml:1: can't be read: ",
        "worse/definition.yaml:1: a definition must be a map, this is a list",
    ];
    for expected in expected {
        assert!(
            mistakes.iter().any(|mistake| mistake.starts_with(expected)),
            "{expected}\nis not among\n{}",
            mistakes.join("\n")
        );
    }
    assert_eq!(mistakes.len(), expected.len(), "{}", mistakes.join("\n"));
    assert!(
        mistakes[0].starts_with("bad/definition.yaml:1: ")
            && mistakes[9].starts_with("bad/definition.yaml:13: ")
    );
}

#[test]
fn what_is_no_yaml_is_named_with_its_line() {
    let mistakes = after("title: Good", "title: [Good");
    assert!(mistakes[0].starts_with("good/definition.yaml:"), "{mistakes:?}");
    let mistakes = after("version: 1\n", "version: 1\nversion: 2\n");
    assert!(mistakes[0].starts_with("good/definition.yaml:3: "), "{mistakes:?}");
}

#[test]
fn missing_and_outside_templates() {
    let mistakes = after("sim.xml.j2", "sin.xml.j2");
    assert!(
        mistakes[0].starts_with("good/definition.yaml:7: the template sin.xml.j2 can't be read: "),
        "{mistakes:?}"
    );
    for outside in ["/etc/passwd", "../x", "..", ".hidden", "a/b", "'C:\\x'"] {
        let mistakes = after("sim.xml.j2", outside);
        assert!(mistakes[0].contains("in the definition's own folder"), "{mistakes:?}");
    }
}

#[test]
fn too_large_files_are_not_read() {
    let yaml = GOOD.to_owned() + &"#".repeat(300 << 10);
    let folder = Folder::with(&[("good/definition.yaml", &yaml), ("good/sim.xml.j2", TEMPLATE)]);
    assert_eq!(folder.mistakes(), ["good/definition.yaml:1: can't be read: larger than 262144 bytes"]);
}

/// Mistakes in the template of the good definition.
fn in_template(template: &str) -> Vec<String> {
    Folder::with(&[("good/definition.yaml", GOOD), ("good/sim.xml.j2", template)]).mistakes()
}

#[test]
fn templates_must_use_only_what_there_is() {
    let template = "<a xmlns='urn:x'>
<b>{{ attributes.nme }}{{ atributes.name }}</b>
<b>{{ service.name }}{{ endpoint.divice }}</b>
<b>{{ endpoint.attributes.vlan }}</b></a>";
    assert_eq!(
        in_template(template),
        [
            "good/sim.xml.j2:2: there is no attribute \"nme\"; did you mean \"name\"?",
            "good/sim.xml.j2:2: there is no variable \"atributes\"; did you mean \"attributes\"?",
            "good/sim.xml.j2:3: there is no property of an endpoint \"divice\"; did you mean \"device\"?",
            "good/sim.xml.j2:3: there is no property of the service \"name\"; known are id",
            "good/sim.xml.j2:4: there is no endpoint attribute \"vlan\"; none is allowed here",
        ]
    );
}

#[test]
fn placeholder_inside_cdata_is_refused() {
    let template = "<a xmlns='urn:x'>
<b><![CDATA[{{ attributes.name }}]]></b></a>";
    let mistakes = in_template(template);
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("good/sim.xml.j2:2: ")
            && mistakes[0].contains("inside of CDATA nothing is escaped: write it without"),
        "{mistakes:?}"
    );
}

#[test]
fn the_example_is_planned() {
    let content = |template: &str, expected: &str| {
        let mistakes = in_template(template);
        assert!(mistakes[0].starts_with("good/sim.xml.j2:1: the example on sim: "), "{mistakes:?}");
        assert!(mistakes[0].contains(expected), "{mistakes:?}");
    };
    content("", "nothing was rendered");
    content("{# nothing #}", "nothing was rendered");
    content("<a xmlns='urn:x'><b>x</b>", "malformed");
    content("<a><b>x</b></a>", "/a has no namespace");
    content("<a xmlns='urn:x'><b xmlns=''>x</b></a>", "/a/b has no namespace");
    content("<a xmlns='urn:x'><c>x</c></a>", "/a/c is not covered by 'owns'");
    content("<a xmlns='urn:x'/>", "/a is not covered by 'owns'");
    content("<a xmlns='urn:x'>x</a>", "/a is not covered by 'owns'");
    content("<a xmlns='urn:x'>x<b>y</b></a>", "/a holds text beside elements");
    content("x<a xmlns='urn:x'><b>y</b></a>", "the top level holds text beside elements");
    content("<a xmlns='urn:x'><b>y</b><b>z</b></a>", "/a/b is there twice");
    content("<a xmlns='urn:x'><b operation='delete'>y</b></a>", "/a/b has the attribute \"operation\"");
    content("<a xmlns='urn:x'><b><c>1</c><c>1</c></b></a>", "/a/b/c is there twice");
    content("</config><config>", "malformed");
    content("<!DOCTYPE a><a xmlns='urn:x'><b>y</b></a>", "DTD");
    let mistakes = in_template("<a xmlns='urn:x'>\n<b>{{ attributes.name + 1 }}</b></a>");
    assert!(mistakes[0].starts_with("good/sim.xml.j2:2: the example on sim: "), "{mistakes:?}");
    let mistakes = after("{name: x}", "{name: 1}");
    assert_eq!(mistakes, ["good/definition.yaml:9: 1 is not of type \"string\""]);
}

#[test]
fn list_entries_need_their_keys() {
    let yaml = GOOD.replace("keys: {}", "keys: {b: [k1, k2]}");
    for (template, expected) in [
        ("<a xmlns='urn:x'><b><k1>1</k1></b></a>", "without its key leaf \"k2\""),
        ("<a xmlns='urn:x'><b><k1>1</k1><k2/></b></a>", "without its key leaf \"k2\""),
        ("<a xmlns='urn:x'><b/></a>", "without its key leaf \"k1\""),
        ("<a xmlns='urn:x'><b><k1>1</k1><k2>2</k2><k2>3</k2></b></a>", "/k2 is there twice"),
    ] {
        let folder = Folder::with(&[("good/definition.yaml", &yaml), ("good/sim.xml.j2", template)]);
        let mistakes = folder.mistakes();
        assert!(mistakes[0].contains(expected), "{mistakes:?}");
    }
}

#[test]
fn a_platform_needs_a_template() {
    let mistakes = after("{template: sim.xml.j2, keys: {}, owns: [a/b]}", "{owns: [a/b]}");
    assert_eq!(mistakes, ["good/definition.yaml:7: the key \"template\" is missing"]);
    let mistakes = after("  sim: {template: sim.xml.j2, keys: {}, owns: [a/b]}\n", "  {}\n");
    assert_eq!(mistakes, ["good/definition.yaml:7: a definition has at least one platform"]);
}

#[test]
fn what_is_shared_is_nobodys_own() {
    for (owns, shares, expected) in [
        ("[a/b]", "[a/b]", "\"a/b\" can't be shared while \"a/b\" is owned"),
        ("[a/b]", "[a/b/c]", "\"a/b/c\" can't be shared while \"a/b\" is owned"),
        ("[a/b]", "[a]", "\"a\" can't be shared while \"a/b\" is owned"),
        ("[a/b]", "[a/c, a/c/d]", "\"a/c/d\" is shared already with \"a/c\"; leave one out"),
        ("[a/b]", "['sim:x/y']", "\"sim:x/y\" is no path"),
        ("[a/b]", "a/c", "'shares' must be a list, this is a text"),
    ] {
        let mistakes = after("owns: [a/b]", &format!("owns: {owns}, shares: {shares}"));
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with(&format!("good/definition.yaml:7: {expected}")), "{mistakes:?}");
    }
    for shares in ["[]", "[a/c, a/bc]"] {
        let yaml = GOOD.replace("owns: [a/b]", &format!("owns: [a/b], shares: {shares}"));
        let folder = Folder::with(&[("good/definition.yaml", &yaml), ("good/sim.xml.j2", TEMPLATE)]);
        assert!(folder.load().is_ok(), "{shares}");
    }
    let mistakes = after("owns: [a/b]", "owns: [a/b], share: [a/c]");
    assert_eq!(
        mistakes,
        ["good/definition.yaml:7: in platform \"sim\" there is no key \"share\"; did you mean \"shares\"?"]
    );
}

#[test]
fn templates_call_only_what_exists() {
    let template = "<a xmlns='urn:x'>\n<b>{{ attributes.name|uper }}</b></a>";
    let mistakes = in_template(template);
    assert!(mistakes[0].starts_with("good/sim.xml.j2:2: ") && mistakes[0].contains("uper"), "{mistakes:?}");
    let mistakes = in_template("<a xmlns='urn:x'>\n<b>{{ system('id') }}</b></a>");
    assert!(mistakes[0].starts_with("good/sim.xml.j2:2: ") && mistakes[0].contains("system"), "{mistakes:?}");
    let mistakes = in_template("<a xmlns='urn:x'>\n<b>{{ attributes.name.__class__() }}</b></a>");
    assert!(mistakes[0].starts_with("good/sim.xml.j2:2: "), "{mistakes:?}");
    let mistakes = in_template("<a xmlns='urn:x'>\n\n<b>\u{ffff}</b></a>");
    assert_eq!(mistakes, ["good/sim.xml.j2:3: U+FFFE and U+FFFF are no characters; take them out"]);
}
