//! Sets of modules: good ones, and mistakes with name and line.

use std::fs;

use turnup_plan::{ModuleText, Yang, modules_needed};
use uuid::Uuid;

use crate::{BOX, EXTRA, SIM, boxed, check, sim, text};

fn mistakes(modules: Vec<ModuleText>) -> Vec<(String, u32, String)> {
    let mistakes = match Yang::from_texts(modules) {
        Ok(yang) => yang.left_out().to_vec(),
        Err(mistakes) => mistakes,
    };
    mistakes.into_iter().map(|mistake| (mistake.module, mistake.line, mistake.message)).collect()
}

/// One mistake in this module and line that holds this text.
#[track_caller]
fn finds(modules: Vec<ModuleText>, module: &str, line: u32, part: &str) {
    let mut found = mistakes(modules);
    found.retain(|(_, _, message)| !message.ends_with("which is left out"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].0.as_str(), found[0].1), (module, line), "{found:#?}");
    assert!(found[0].2.contains(part), "{found:#?}");
}

fn module(name: &str, body: &str) -> ModuleText {
    text(name, &format!("module {name} {{\n namespace \"urn:{name}\";\n prefix {name};\n{body}\n}}"))
}

#[test]
fn what_libyang_does_not_accept() {
    finds(vec![module("a", " leaf x { type string; }\n leaf y { typo string; }")], "a", 5, "typo");
    finds(vec![module("a", " leaf x { type string; }\n leaf y { type strang; }")], "a", 5, "strang");
    finds(vec![module("a", " list l { leaf k { type string; } }")], "a", 4, "key");
    finds(vec![module("a", "\n\n leaf x { type uint8 { range \"1..300\"; } }")], "a", 6, "300");
    finds(vec![module("a", " uses g;")], "a", 1, "g");
    finds(vec![text("a", "module a {\n prefix a;\n}")], "a", 3, "namespace");
    finds(vec![text("a", "module a {\n namespace \"urn:a;\n}")], "a", 2, "not closed");
    finds(vec![text("a", "<module name=\"a\"/>")], "a", 1, "no YANG");
    finds(vec![text("b", "module a { namespace a; prefix a; }")], "b", 1, "text of a");
    finds(vec![], "", 1, "no modules");
}

#[test]
fn every_module_with_a_mistake() {
    let found = mistakes(vec![
        module("a", " leaf x { typo string; }"),
        module("b", " import a { prefix a; }\n leaf x { type string; }"),
        module("c", " leaf x {\n typo string; }"),
        module("d", " import gone { prefix g; }"),
        module("e", " leaf x { type string; }"),
        text("f", "module f {"),
    ]);
    let places: Vec<(&str, u32)> = found.iter().map(|(module, line, _)| (module.as_str(), *line)).collect();
    // e is good.
    assert_eq!(places, [("a", 4), ("b", 4), ("c", 5), ("d", 4), ("f", 1)], "{found:#?}");
    assert_eq!(found[1].2, "needs a, which is left out");
}

#[test]
fn what_is_missing() {
    finds(vec![text("extra", EXTRA)], "extra", 4, "needs module box, which is missing");
    finds(vec![module("a", " include part;")], "a", 4, "needs submodule part, which is missing");
    let old = " import box { prefix b;\n revision-date 2001-01-01; }";
    finds(vec![module("a", old), text("box", BOX)], "a", 4, "in revision 2001-01-01; there is 2025-01-01");
    // libyang has this one itself, but not in every revision.
    let types = " import ietf-yang-types { prefix y; revision-date 2010-09-24; }";
    finds(vec![module("a", types)], "a", 4, "in revision 2010-09-24");
    assert!(Yang::from_texts(vec![module("a", " import ietf-yang-types { prefix y; }")]).is_ok());
    let other = text("box", &BOX.replace("colour", "color"));
    finds(
        vec![text("box", BOX), other],
        "box",
        1,
        "twice in the same revision, with different texts; the first",
    );
    assert!(Yang::from_texts(vec![text("box", BOX), text("box", BOX)]).is_ok());
}

#[test]
fn modules_needed_are_those_of_statements() {
    let text = "module a {\n namespace \"urn:a\"; prefix a;\n import \"one\" + '-two' { prefix o; }\n include sub;\n\
                // import commented;\n /* include\n import out; */\n description \"\n import of goods\n include all\";\n}";
    assert_eq!(modules_needed(text), ["one-two", "sub"]);
    assert!(modules_needed("import prose {").is_empty());
}

const BASE_A: &str = " container top { leaf x { type uint8; } }";

#[test]
fn deviation_without_target_leaves_out_its_module_only() {
    let deviation = " import base-a { prefix a; }\n deviation \"/a:top/a:gone\" { deviate not-supported; }";
    let yang = Yang::from_texts(vec![
        module("base-a", BASE_A),
        module("dev-a", deviation),
        module("needs-dev", " import dev-a { prefix d; }"),
        module("aug", " import base-a { prefix a; }\n augment \"/a:gone\" { leaf y { type string; } }"),
    ])
    .unwrap();
    let left_out: Vec<(&str, &str)> =
        yang.left_out().iter().map(|one| (one.module.as_str(), one.message.as_str())).collect();
    assert_eq!(left_out.iter().map(|one| one.0).collect::<Vec<_>>(), ["aug", "dev-a", "needs-dev"]);
    assert!(left_out[0].1.contains("/a:gone") && left_out[1].1.contains("/a:top/a:gone"), "{left_out:?}");
    assert_eq!(left_out[2].1, "needs dev-a, which is left out");
    assert_eq!(yang.modules(), 1);
    assert_eq!(check(&yang, &[], "<top xmlns=\"urn:base-a\"><x>300</x></top>").len(), 1);
}

#[test]
fn augment_that_breaks_another_module_is_left_out_and_not_that_module() {
    // What is wrong is a node of base-a; without the deviation it is right.
    let deviation =
        " import base-a { prefix a; }\n deviation \"/a:top/a:x\" { deviate add { default \"300\"; } }";
    let yang = Yang::from_texts(vec![module("base-a", BASE_A), module("dev-a", deviation)]).unwrap();
    let left_out: Vec<&str> = yang.left_out().iter().map(|one| one.module.as_str()).collect();
    assert_eq!(left_out, ["dev-a"], "{:?}", yang.left_out());
    assert!(check(&yang, &[], "<top xmlns=\"urn:base-a\"><x>1</x></top>").is_empty());
}

#[test]
fn namespace_of_no_module_is_unchecked() {
    let yang = Yang::from_texts(vec![module("base-a", BASE_A)]).unwrap();
    assert!(check(&yang, &[], "<c xmlns=\"urn:big\"><l>1</l></c>").is_empty());
    let both = "<c xmlns=\"urn:big\"/><top xmlns=\"urn:base-a\"><y xmlns=\"urn:big\">1</y><x>300</x></top>";
    assert_eq!(check(&yang, &[], both).len(), 1, "the rest is checked");
    assert_eq!(check(&yang, &[], "<none xmlns=\"urn:base-a\"/>").len(), 1);
}

#[test]
fn submodules() {
    let part =
        "submodule part {\n belongs-to a { prefix a; }\n container top {\n leaf x { type string; }\n }\n}";
    let main = module("a", " include part;");
    let yang = Yang::from_texts(vec![text("part", part), main.clone()]).unwrap();
    assert!(check(&yang, &[], "<top xmlns=\"urn:a\"><x>1</x></top>").is_empty());
    finds(vec![main.clone(), text("part", &part.replace("type string", "typo string"))], "part", 4, "typo");
    let nested =
        part.replace("belongs-to a { prefix a; }", "belongs-to a { prefix a; } import gone { prefix g; }");
    finds(vec![main, text("part", &nested)], "part", 2, "needs module gone");
}

#[test]
fn several_revisions_of_one_module() {
    let at = |revision: &str, body: &str| {
        module("a", &format!(" revision {revision};\n typedef t {{ type string; }}\n{body}"))
    };
    let yang = Yang::from_texts(vec![
        at("2020-01-01", "leaf old { type t; }"),
        at("2022-01-01", "leaf new { type t; }"),
        at("2021-01-01", "leaf middle { type t; }"),
        module("b", " import a { prefix a; revision-date 2020-01-01; }\n leaf b { type a:t; }"),
    ])
    .unwrap();
    assert!(check(&yang, &[], "<new xmlns=\"urn:a\">x</new><b xmlns=\"urn:b\">y</b>").is_empty());
    assert_eq!(check(&yang, &[], "<old xmlns=\"urn:a\">x</old>").len(), 1);
}

#[test]
fn a_set_may_bring_what_libyang_has_itself() {
    let types = "module ietf-yang-types { namespace \"urn:ietf:params:xml:ns:yang:ietf-yang-types\"; prefix yang;\n\
                 revision 2013-07-15; typedef counter32 { type uint32; } }";
    let library = "module ietf-yang-library { namespace \"urn:ietf:params:xml:ns:yang:ietf-yang-library\"; prefix l;\n\
                   revision 2016-06-21; }";
    let metadata = "module ietf-yang-metadata { namespace \"urn:ietf:params:xml:ns:yang:ietf-yang-metadata\"; prefix md;\n\
                    revision 2016-08-05; extension annotation { argument name; } }";
    let yang = Yang::from_texts(vec![
        module("a", " import ietf-yang-types { prefix y; }\n leaf x { type y:counter32; }"),
        text("ietf-yang-types", types),
        text("ietf-yang-library", library),
        text("ietf-yang-metadata", metadata),
    ])
    .unwrap();
    assert_eq!(check(&yang, &[], "<x xmlns=\"urn:a\">-1</x>").len(), 1);
}

#[test]
fn keys() {
    let of = |yang: &Yang, namespace: &str, path: &str| {
        yang.list(namespace, path, namespace).map(|list| list.keys.join(" "))
    };
    let sim = sim();
    let sim = |path: &str| of(&sim, "urn:turnup:sim", path);
    assert_eq!(sim("interfaces/interface").as_deref(), Some("name"));
    assert_eq!(sim("interfaces/interface/unit").as_deref(), Some("id"));
    assert_eq!(sim("pseudowires/pseudowire").as_deref(), Some("name"));
    assert_eq!(sim("interfaces"), None);
    let yang = boxed();
    let boxed = |path: &str| of(&yang, "urn:box", path);
    assert_eq!(boxed("box/item/part").as_deref(), Some("a b"));
    assert_eq!(boxed("box/item/note").as_deref(), Some("."));
    // A list with the key name here, one of another module with the key id beside it.
    assert_eq!(boxed("box/item").as_deref(), Some("name"));
    assert_eq!(yang.list("urn:box", "box/item", "urn:extra").unwrap().keys, ["id"]);
    assert_eq!(boxed("box/number"), None);
}

#[test]
fn the_digest_is_of_the_set() {
    let one = Yang::from_texts(vec![text("box", BOX), text("turnup-sim", SIM)]).unwrap();
    let two = Yang::from_texts(vec![text("turnup-sim", SIM), text("box", BOX), text("box", BOX)]).unwrap();
    assert_eq!(one.digest(), two.digest());
    assert_eq!(one.digest().len(), 64);
    assert_ne!(one.digest(), sim().digest());
}

#[test]
fn sets_that_would_outgrow_memory() {
    // Each uses the one before ten times: 10^30 nodes.
    let grouping = |i: usize| {
        let inside: String = (0..10).map(|j| format!("container c{j} {{ uses g{}; }}", i - 1)).collect();
        format!(" grouping g{i} {{ {inside} }}\n")
    };
    let groupings: String = (1..30).map(grouping).collect();
    let bomb = module("a", &format!("{groupings} grouping g0 {{ leaf x {{ type string; }} }}\n uses g29;"));
    let found = mistakes(vec![bomb]);
    assert!(found[0].2.contains("would have more than 5000000 nodes"), "{found:#?}");
    // Across modules, and only in sum.
    let half = |name: &str| {
        let leaves: String = (0..1000).map(|i| format!("leaf l{i} {{ type string; }}\n")).collect();
        let uses: String = (0..3000).map(|i| format!("container {name}{i} {{ uses g; }}\n")).collect();
        module(name, &format!(" grouping g {{ {leaves} }}\n {uses}"))
    };
    finds(vec![half("a"), half("b")], "", 1, "the modules would have more than");
    let typedef = |i: usize| format!(" typedef t{i} {{ type union {{ type a:t{0}; type t{0}; }} }}\n", i - 1);
    let typedefs: String = (1..40).map(typedef).collect();
    let found = mistakes(vec![module("a", &format!("{typedefs} typedef t0 {{ type string; }}"))]);
    assert!(found[0].2.contains("member types"), "{found:#?}");
    // As deep as a stack is not.
    let chain: String = (1..20_000).map(|i| format!(" grouping g{i} {{ uses g{}; }}\n", i - 1)).collect();
    let found = mistakes(vec![module("a", &format!("{chain} grouping g0 {{ leaf x {{ type string; }} }}"))]);
    assert!(found[0].2.contains("through more than 500 others"), "{found:#?}");
    finds(vec![module("a", " grouping g { uses h; }\n grouping h { uses g; }")], "a", 4, "others");
}

struct Folder(std::path::PathBuf);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = std::env::temp_dir().join(format!("turnup-test-yang-{}", Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_folder() {
    let files: [(&str, &[u8]); 3] =
        [("one.yang", BOX.as_bytes()), ("extra@x.yang", EXTRA.as_bytes()), ("README", b"no module")];
    let folder = Folder::with(&files);
    assert_eq!(Yang::load_folder(&folder.0).unwrap().digest(), boxed().digest());

    let missing = Folder::with(&[files[1]]);
    let mistakes = Yang::load_folder(&missing.0).unwrap_err();
    assert_eq!((mistakes.len(), mistakes[0].line), (1, 4));
    assert_eq!(mistakes[0].file, missing.0.join("extra@x.yang"));

    let bad = Folder::with(&[("a.yang", b"\xff"), ("b.yang", b"module b {\n x y z }")]);
    let mistakes = Yang::load_folder(&bad.0).unwrap_err();
    let places: Vec<_> =
        mistakes.iter().map(|m| (m.file.file_name().unwrap().to_str().unwrap(), m.line)).collect();
    assert_eq!(places, [("a.yang", 1), ("b.yang", 2)]);

    assert_eq!(Yang::load_folder(&Folder::with(&[]).0).unwrap_err().len(), 1);
    assert_eq!(Yang::load_folder(&folder.0.join("nowhere")).unwrap_err().len(), 1);
}

#[test]
fn nothing_is_left_in_the_temporary_folder() {
    // Another test in a process of its own, with a temporary folder of its own.
    let run = |folder: &std::path::Path| {
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "modules::what_is_missing"]).env("TMPDIR", folder);
        test.output().unwrap().status.success()
    };
    let own = Folder::with(&[]);
    assert!(run(&own.0));
    assert_eq!(fs::read_dir(&own.0).unwrap().count(), 0);
    // It is used indeed.
    assert!(!run(&own.0.join("nowhere")));
}

#[test]
fn modules_that_are_ignored_are_left_out_with_what_needs_them() {
    let texts = [
        module("base-a", BASE_A),
        module("needy", " import base-a { prefix b; }"),
        module("other", " leaf x { type string; }"),
    ];
    let ignored = std::collections::BTreeSet::from(["base-a".to_owned(), "gone".to_owned()]);
    let yang = Yang::without(&texts, &ignored).unwrap();
    let said: Vec<String> =
        yang.left_out().iter().map(|mistake| format!("{}: {}", mistake.module, mistake.message)).collect();
    assert_eq!(
        said,
        ["base-a: left out by choice", "gone: left out by choice", "needy: needs base-a, which is left out"]
    );
    assert_eq!(yang.modules(), 1);
    let whole = Yang::from_texts(texts.to_vec()).unwrap();
    assert_ne!(whole.digest(), yang.digest(), "another set");
    // The text of one that is ignored need not be there.
    let yang = Yang::without(&texts[1..], &ignored).unwrap();
    assert_eq!(yang.modules(), 1);
}
