//! Files that users hand in, as spreadsheets and exports write them.

use serde_json::Value;
use turnup_tests::{Cluster, Options};

/// Writes a file of a test and gives its path.
fn file(cluster: &Cluster, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let file = cluster.dir.join(name);
    std::fs::write(&file, bytes).unwrap();
    file.display().to_string()
}

/// The orders with this external id.
fn orders(cluster: &Cluster, external_id: &str) -> Vec<Value> {
    let list = cluster.command(&["--output", "json", "order", "list", "--external-id", external_id]);
    let list: Value = serde_json::from_str(&list).unwrap();
    list["items"].as_array().unwrap().clone()
}

const HEADINGS: &str = "kind;definition;external_id;attributes.name;attributes.description;attributes.enabled;\
                        endpoints.0.role;endpoints.0.device";

#[tokio::test(flavor = "multi_thread")]
async fn spreadsheet_rows_keep_their_texts_and_all_faults_are_named() {
    let cluster = Cluster::running(Options::default()).await;
    let rows = [
        HEADINGS,
        "provision;interface;4711;ge-0/0/1;2024;TRUE;device;sim-eu-west-1",
        "provision;interface;12345678901234567890123;ge-0/0/2;\"two\nlines\";;device;sim-eu-west-1",
        ";;;;;;;",
        "provision;interface;CRM-3;ge-0/0/3;x;WAHR;device;sim-eu-west-1",
        "provision;interface;4711;ge-0/0/4;10.10;;device;sim-eu-west-1",
        "provision;interface;CRM-5;ge-0/0/5;1E5;;device;sim-eu-west-9",
        ";;;;;;;",
    ];
    let csv = file(&cluster, "orders.csv", format!("\u{feff}{}\r\n", rows.join("\r\n")));

    let (code, out, err) = cluster.try_command(&["order", "submit", &csv, "--dry-run"]);
    assert_eq!(code, 1, "{out}{err}");
    for wanted in [
        "orders.csv:2 (4711)\nprovision interface",
        "orders.csv:3 (12345678901234567890123)\n",
        "orders.csv:6 (CRM-3): ",
        "column attributes.enabled: \"WAHR\" is not of type \"boolean\"",
        "orders.csv:7 (4711): ",
        "orders.csv:2 too",
        "orders.csv:8 (CRM-5): ",
        "column endpoints.0.device: ",
        "2 good, 3 with faults; nothing was stored",
    ] {
        assert!(out.contains(wanted), "{wanted} in {out}");
    }
    let (code, planned, _) = cluster.try_command(&["order", "plan", &csv]);
    assert_eq!((code, planned.contains("2 good, 3 with faults")), (1, true), "{planned}");
    assert_eq!(orders(&cluster, "4711").len(), 0, "a dry run stores nothing");

    let (code, out, err) = cluster.try_command(&["order", "submit", &csv]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("orders.csv:8 (CRM-5): ") && out.contains("2 accepted, 3 refused"), "{out}");
    let stored = &orders(&cluster, "4711")[0];
    assert_eq!(
        (&stored["attributes"]["description"], &stored["attributes"]["enabled"]),
        (&"2024".into(), &true.into())
    );
    assert_eq!(orders(&cluster, "12345678901234567890123").len(), 1);

    let provisioned = file(
        &cluster,
        "one.csv",
        format!("{HEADINGS};schedule\nprovision;interface;CRM-9;ge-0/0/9;x;;device;sim-eu-west-1;now\n"),
    );
    assert!(cluster.command(&["order", "submit", &provisioned, "--watch"]).contains("Completed"));
    let service = orders(&cluster, "CRM-9")[0]["service_id"].as_str().unwrap().to_owned();
    let modify = file(
        &cluster,
        "modify.csv",
        format!(
            "kind\tservice_id\texternal_id\tattributes.name\tattributes.description\tendpoints.0.role\tendpoints.0.device\n\
                 modify\t{service}\t0816\tge-0/0/9\t007\tdevice\tsim-eu-west-1\n"
        ),
    );
    let _ = cluster.command(&["order", "submit", &modify]);
    assert_eq!(
        orders(&cluster, "0816")[0]["attributes"]["description"],
        "007",
        "by the service's definition"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_submitted_again_makes_no_second_service() {
    let cluster = Cluster::running(Options::default()).await;
    let order = "{kind: provision, definition: interface, attributes: {name: ge-0/0/1, description: no}, \
                 endpoints: [{role: device, device: sim-eu-west-1}]}";
    let twice = file(&cluster, "twice.yaml", format!("- {order}\n- {order}\n"));
    let (code, out, err) = cluster.try_command(&["order", "submit", &twice]);
    assert!(code == 0 && out.contains("2 accepted"), "two orders that say the same are two: {out}{err}");
    let (code, out, err) = cluster.try_command(&["order", "submit", &twice]);
    assert!(code == 0 && out.contains("0 accepted, 2 submitted before"), "{out}{err}");
    assert!(out.contains("twice.yaml:2 was submitted before"), "{out}");
    assert!(
        err.contains("2 orders without external id had the same content") && err.contains("--again"),
        "{err}"
    );
    let count = || cluster.command(&["--output", "json", "order", "list"]).matches("\"service_id\"").count();
    assert_eq!(count(), 2);
    assert!(cluster.command(&["order", "submit", &twice, "--again"]).contains("2 accepted"));
    assert_eq!(count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_order_nothing() {
    let cluster = Cluster::running(Options::default()).await;
    let utf16: Vec<u8> = "\u{feff}kind,definition\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, wanted) in [
        ("u16.csv", utf16.as_slice(), "u16.csv: is UTF-16: "),
        ("ansi.csv", b"kind,description\nprovision,Stra\xdfe\n", "ansi.csv:2: is not UTF-8: byte 0xDF"),
        ("twice.json", b"{\"kind\": 1,\n\"kind\": 2}", "twice.json:2: the name \"kind\" is there twice"),
        ("twice.csv", b"kind,kind\na,b\n", "twice.csv:1: the heading \"kind\" is there twice"),
        ("twice.yaml", b"kind: a\nkind: b\n", "twice.yaml:2: the key \"kind\" is there twice"),
        ("empty.csv", b"", "empty.csv: is empty"),
    ] {
        let (code, out, err) = cluster.try_command(&["order", "submit", &file(&cluster, name, bytes)]);
        assert!(code == 2 && err.contains(wanted), "{wanted} in {code} {out}{err}");
    }
    let (code, _, err) =
        cluster.try_command(&["order", "submit", &file(&cluster, "headings.csv", "kind,definition\n")]);
    assert!(code == 1 && err.contains("there are no orders in it below its heading line"), "{err}");
    assert!(!cluster.command(&["--output", "json", "order", "list"]).contains("\"service_id\""));

    let past = "{kind: provision, definition: interface, external_id: OLD, schedule: 2020-01-01T00:00:00Z, \
                attributes: {name: ge-0/0/1}, endpoints: [{role: device, device: sim-eu-west-1}]}\n";
    let past = file(&cluster, "past.yaml", past);
    let (code, out, err) = cluster.try_command(&["order", "submit", &past, "--dry-run"]);
    assert!(
        code == 0 && out.contains("is in the past") && err.contains("past.yaml:1 (OLD): the time"),
        "{out}{err}"
    );
    let (code, _, err) = cluster.try_command(&["order", "list", "--created-after", "2026-11-30"]);
    assert!(code == 2 && err.contains("the time of day and the offset are missing"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_of_netbox_are_read_or_refused_with_the_way_out() {
    let cluster = Cluster::running(Options::default()).await;
    let import = |names: &[&str], more: &[&str]| {
        let files: Vec<String> =
            names.iter().map(|name| cluster.dir.join(name).display().to_string()).collect();
        let mut words =
            vec!["device", "import", "--region", "eu-west", "--platform-map", "eos=sim", "--dry-run"];
        words.extend(files.iter().map(String::as_str).chain(more.iter().copied()));
        cluster.try_command(&words)
    };
    let row =
        |status: &str| format!("name;status;primary_ip;platform;site\npe1;{status};192.0.2.1/24;eos;ams1\n");
    file(&cluster, "semicolons.csv", row("active"));
    file(&cluster, "status.csv", row("Aktiv"));
    file(&cluster, "planned.csv", row("planned"));
    file(
        &cluster,
        "german.csv",
        "Name,Status,Mandant,Standort,Typ,IP-Adresse\npe1,Aktiv,,ams1,DT-1,192.0.2.1/24\n",
    );
    for (name, next, number) in
        [("p1.json", "\"http://netbox.example/?offset=1\"", 1), ("p2.json", "null", 2)]
    {
        let device = format!(
            "{{\"name\": \"pe{number}\", \"platform\": {{\"slug\": \"eos\"}}, \"primary_ip\": {{\"address\": \"192.0.2.{number}/24\"}}}}"
        );
        file(&cluster, name, format!("{{\"count\": 2, \"next\": {next}, \"results\": [{device}]}}"));
    }
    for (files, more, code, wanted) in [
        (&["semicolons.csv"][..], &[][..], 0, "1 new"),
        (&["status.csv"], &[], 1, "its status \"aktiv\" is not known; known are active"),
        (&["status.csv"], &["--all"], 0, "1 new"),
        (&["planned.csv"], &[], 1, "no device is active, so nothing was imported"),
        (&["german.csv"], &[], 2, "the headings are German"),
        (&["p1.json"], &[], 1, "only 1 of 2 devices"),
        (&["p2.json"], &[], 1, "only 1 of 2 devices"),
        (&["p1.json"], &["--partial"], 0, "1 new"),
        (&["p1.json", "p2.json"], &[], 0, "2 new"),
    ] {
        let (found, out, err) = import(files, more);
        assert!(
            found == code && format!("{out}{err}").contains(wanted),
            "{files:?} {more:?}: {found} {out}{err}"
        );
    }
}
