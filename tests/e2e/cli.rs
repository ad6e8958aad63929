//! The command line, as people and scripts use it.

use serde_json::{Value, json};
use turnup_tests::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_kind_and_exit_codes() {
    let cluster = Cluster::running(Options::default()).await;
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo");
    // Before it is submitted: afterwards its numbers are taken.
    let plan = cluster.command(&["order", "plan", &format!("{demo}/eline.yaml")]);
    assert!(plan.contains("vlan-id"), "{plan}");
    let watched = cluster.command(&[
        "order",
        "submit",
        &format!("{demo}/eline.yaml"),
        &format!("{demo}/orders.csv"),
        "--watch",
    ]);
    assert_eq!(watched.matches("Completed").count(), 3, "{watched}");

    let list: Value = serde_json::from_str(&cluster.command(&[
        "--output",
        "json",
        "order",
        "list",
        "--state",
        "completed",
    ]))
    .unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let id = list["items"][0]["id"].as_str().unwrap();
    let shown = cluster.command(&["order", "show", id]);
    for wanted in ["Completed", "history", "In Progress", "in force: new", "edit-config"] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }

    // By external id and by the beginning of its id; the errors are JSON where the output is.
    for given in ["external:CRM-1001", "CRM-1001", &list["items"][2]["id"].as_str().unwrap()[..35]] {
        assert!(cluster.command(&["order", "show", given]).contains("Completed"), "{given}");
        assert!(cluster.command(&["order", "explain", given]).starts_with("Completed"), "{given}");
    }
    let service = list["items"][2]["service_id"].as_str().unwrap();
    assert!(cluster.command(&["service", "show", "CRM-1001"]).contains(service));
    let (code, _, err) = cluster.try_command(&["service", "show", id]);
    assert!(code == 1 && err.contains("is an order of service"), "{code} {err}");
    let (code, _, err) = cluster.try_command(&["--output", "json", "order", "show", "no-such-order"]);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, &error["exit_code"], &error["problem"]["code"]), (1, &json!(1), &json!("not_found")));
    // A pipe gets every column, and each row is one line.
    let piped = cluster.command(&["order", "list"]);
    assert_eq!(piped.lines().count(), 4, "a heading and three orders: {piped}");
    assert!(piped.lines().skip(1).all(|line| line.split_whitespace().count() == 9), "{piped}");

    // 3: refused by the state. 2: usage. 1: failed. 4: can't reach.
    let (code, _, err) = cluster.try_command(&["order", "cancel", id]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("Completed"), "{err}");
    assert_eq!(cluster.try_command(&["order", "submit", "no-such-file.yaml"]).0, 2);
    assert_eq!(cluster.try_command(&["order", "nonsense"]).0, 2);
    let bad = cluster.dir.join("bad.json");
    std::fs::write(&bad, r#"{"kind": "provision", "definition": "eline", "colour": 1}"#).unwrap();
    let (code, out, _) = cluster.try_command(&["order", "submit", &bad.display().to_string()]);
    assert_eq!(code, 1);
    assert!(out.contains("/colour") && out.contains("/endpoints: "), "all faults with their place: {out}");
    assert_eq!(cluster.try_command(&["--url", "http://127.0.0.1:1", "order", "list"]).0, 4);
    let (code, _, err) = cluster.try_command(&["--token", "tu_wrong", "order", "list"]);
    assert_eq!(code, 3, "{err}");

    let services = cluster.command(&["service", "list"]);
    assert_eq!(services.matches("eline").count(), 3, "{services}");
    assert!(cluster.command(&["definition", "list"]).contains("eline"));
    assert!(cluster.command(&["fleet"]).contains("eu-west"));
    assert!(cluster.command(&["device", "list"]).contains("sim-us-east-1"));
    assert!(cluster.command(&["events", "--type", "dev.turnup.order.completed"]).lines().count() >= 3);
    let newest = cluster.command(&["events", "--limit", "1", "--type", "order.completed"]);
    assert!(newest.lines().count() == 1 && newest.contains("order.completed"), "{newest}");
    assert!(cluster.command(&["events", "--since", "1h", "--type", "order"]).lines().count() >= 9);
    let (code, _, err) = cluster.try_command(&["events", "--type", "order.complet_"]);
    assert!(code == 1 && err.contains("order.completed"), "{err}");

    // A repetition ends as the first order did, and says so of a service that is gone since.
    let eline = format!("{demo}/eline.yaml");
    let again = cluster.command(&["order", "submit", &eline, "--watch"]);
    assert!(again.contains("was submitted before"), "{again}");
    let dry = cluster.command(&["order", "submit", &eline, "--dry-run"]);
    assert!(dry.contains("was submitted before as order") && dry.contains("which is Completed"), "{dry}");
    assert!(cluster.command(&["service", "decommission", "CRM-1001", "--watch"]).contains("Completed"));
    for watch in [&[][..], &["--watch"]] {
        let (code, out, err) = cluster.try_command(&[&["order", "submit", &eline][..], watch].concat());
        assert!(code == 1 && out.contains("Completed"), "{code} {out}");
        assert!(err.contains("its service is gone since") && err.contains("was removed by order"), "{err}");
    }

    // An order without a time: the watch says so and ends.
    let idle = cluster.dir.join("idle.json");
    let order = json!({
        "kind": "provision", "definition": "interface", "attributes": {"name": "ge-0/0/9"},
        "endpoints": [{"role": "device", "device": "sim-eu-west-1"}],
    });
    std::fs::write(&idle, order.to_string()).unwrap();
    let idle = idle.display().to_string();
    let (code, out, err) = cluster.try_command(&["order", "submit", &idle, "--watch"]);
    assert!(
        code == 1 && err.contains("1 without a time") && err.contains("turnup order schedule"),
        "{out}{err}"
    );
    let (_, out, _) = cluster.try_command(&["order", "show", &id_in(&out), "--watch"]);
    assert!(out.starts_with("Requested since") && out.contains("--wait"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_what_their_role_may() {
    let cluster = Cluster::running(Options::default()).await;
    let secret = cluster.command(&["token", "create", "reader", "--role", "auditor"]);
    let secret = secret.trim();
    assert_eq!(cluster.try_command(&["--token", secret, "order", "list"]).0, 0);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo/eline.yaml");
    let (code, _, err) = cluster.try_command(&["--token", secret, "order", "submit", demo]);
    assert_eq!(code, 3, "{err}");
    assert_eq!(
        cluster.try_command(&["token", "create", "reader", "--role", "admin"]).0,
        3,
        "the name is taken"
    );
    let _ = cluster.command(&["token", "revoke", "reader"]);
    turnup_tests::wait::until("the revocation to be noticed", turnup_tests::wait::PATIENCE, || async {
        (cluster.try_command(&["--token", secret, "order", "list"]).0 == 3).then_some(())
    })
    .await;
    let stored = cluster.query("SELECT tokens::text FROM tokens").await;
    assert!(stored.iter().all(|row| !row.get::<_, String>(0).contains(secret.trim_start_matches("tu_"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_is_trusted_only_by_an_explicit_act() {
    let cluster = Cluster::running(Options::default()).await;
    let device = &cluster.simulator.inventory()[0];
    let port = device.port.to_string();
    let add = [
        "device",
        "add",
        "pe9",
        "--region",
        "eu-west",
        "--platform",
        "sim",
        "--address",
        "127.0.0.1",
        "--port",
        &port,
        "--credential",
        "sim",
    ];
    let (code, _, err) = cluster.try_command(&add);
    assert!(code == 3 && err.contains(&format!("device {} has the address", device.name)), "{code} {err}");
    let _ = cluster.command(&["device", "remove", &device.name]);
    let _ = cluster.command(&add);
    let (code, out, _) = cluster.try_command(&["device", "trust", "pe9"]);
    assert_eq!(code, 2);
    let fingerprint = out.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned();
    assert_eq!(cluster.try_command(&["device", "trust", "pe9", "--fingerprint", "SHA256:wrong"]).0, 3);
    let trusted = cluster.command(&["device", "trust", "pe9", "--fingerprint", &fingerprint]);
    assert!(trusted.contains("ssh-ed25519"), "{trusted}");
}

/// The first id in what a command printed.
fn id_in(text: &str) -> String {
    let is_id = |word: &&str| word.len() == 36 && word.matches('-').count() == 4;
    text.split_whitespace().find(is_id).unwrap_or_else(|| panic!("no id in {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_approved_and_then_exactly_it_is_deployed() {
    let cluster = Cluster::running(Options::default()).await;
    let order = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo/eline.yaml");
    let plan = cluster.command(&["order", "plan", order, "--xml", "--on-device"]);
    for wanted in ["sim-eu-west-1 (sim): adds", "+", "edit-config:", "accepts it", "resources", "given"] {
        assert!(plan.contains(wanted), "{wanted} in {plan}");
    }
    assert!(!plan.contains('\u{1b}'), "no colours in a pipe: {plan}");
    let coloured = cluster.command(&["order", "plan", order, "--color", "always"]);
    assert!(coloured.contains("\u{1b}[32m+"), "{coloured}");
    let command = plan.lines().find(|line| line.trim_start().starts_with("turnup order submit")).unwrap();
    let hash = command.rsplit(' ').next().unwrap();

    let other = "0".repeat(64);
    let (code, out, err) =
        cluster.try_command(&["order", "submit", order, "--approved-plan", &other, "--watch"]);
    assert_eq!(code, 1, "{out}{err}");
    let shown = cluster.command(&["order", "show", &id_in(&out)]);
    assert!(
        shown.contains("Invalid") && shown.contains("sim-eu-west-1 (sim)"),
        "with the present plan: {shown}"
    );

    // The order became Invalid, so that the corrected one takes its external id.
    let done = cluster.command(&["order", "submit", order, "--approved-plan", hash, "--watch"]);
    assert!(done.contains("Completed"), "{done}");
    let shown = cluster.command(&["order", "show", "CRM-1001"]);
    assert!(shown.contains("corrects") && shown.contains("Completed"), "{shown}");
    let (code, _, err) = cluster.try_command(&["order", "submit", order, order, "--approved-plan", hash]);
    assert_eq!(code, 2, "one plan isn't two orders': {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_changed_audited_repaired_and_removed() {
    let cluster = Cluster::running(Options::default()).await;
    let order = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo/eline.yaml");
    let _ = cluster.command(&["order", "submit", order, "--watch"]);
    let service = id_in(&cluster.command(&["service", "list"]));

    let dry = cluster.command(&["order", "modify", &service, "--set", "mtu=9000", "--dry-run"]);
    assert!(dry.contains("~") && dry.contains("9000") && dry.contains("(sim): changes"), "{dry}");
    let done = cluster.command(&[
        "order",
        "modify",
        &service,
        "--set",
        "mtu=9000",
        "--set",
        "a:vlan=111",
        "--watch",
    ]);
    assert!(done.contains("Completed"), "{done}");
    let config = cluster.command(&["service", "config", &service, "--device", "sim-eu-west-1"]);
    assert!(config.contains("<mtu>9000</mtu>") && config.contains("<vlan-id>111</vlan-id>"), "{config}");
    // The references of commands count in filters, subjects and files too.
    for reference in ["CRM-1001", "external:CRM-1001", &service[..35], &service] {
        let orders = cluster.command(&["order", "list", "--service-id", reference]);
        assert_eq!(orders.lines().count(), 3, "a heading and two orders: {orders}");
        assert!(cluster.command(&["service", "list", "--external-id", "CRM-1001"]).contains(&service));
        assert!(
            cluster
                .command(&["events", "--subject", &format!("orders/{}", "CRM-1001")])
                .contains("completed")
        );
        let file = cluster.dir.join("again.json");
        std::fs::write(&file, json!({"kind": "redeploy", "service_id": reference}).to_string()).unwrap();
        let dry = cluster.command(&["order", "submit", &file.display().to_string(), "--dry-run"]);
        assert!(dry.contains(&format!("service {service}")), "{dry}");
    }
    assert!(cluster.command(&["events", "--subject", "CRM-1001"]).contains("order."));
    let file = cluster.dir.join("nothing.json");
    std::fs::write(&file, json!({"kind": "redeploy", "service_id": "CRM-none"}).to_string()).unwrap();
    let (code, out, _) = cluster.try_command(&["order", "submit", &file.display().to_string()]);
    assert!(code == 1 && out.contains("/service_id: ") && out.contains("CRM-none"), "{code} {out}");
    let (code, _, err) = cluster.try_command(&["order", "modify", &service, "--set", "b:vlan=1"]);
    assert_eq!(code, 2, "{err}");

    let (code, _, err) = cluster.try_command(&["service", "audits", &service]);
    assert_eq!(code, 1, "not audited yet: {err}");
    let good = cluster.command(&["service", "audit", &service, "--watch"]);
    for wanted in ["Up", "In sync", "passed"] {
        assert!(good.contains(wanted), "{wanted} in {good}");
    }
    let by_hand = "<interfaces xmlns=\"urn:turnup:sim\"><interface><name>ge-0/0/1</name>\
                   <unit><id>111</id><mtu>1400</mtu></unit></interface></interfaces>";
    cluster.simulator.device("sim-eu-west-1").unwrap().edit_running(by_hand).unwrap();
    let (code, out, err) = cluster.try_command(&["service", "audit", &service, "--config", "--watch"]);
    assert_eq!(code, 1, "{out}{err}");
    let repair = format!("turnup service redeploy {service}");
    for wanted in ["Drifted", "changed /interfaces", "\"1400\" instead of \"9000\"", &repair] {
        assert!(out.contains(wanted), "{wanted} in {out}");
    }
    assert!(cluster.command(&["service", "list", "--config-audit", "drifted"]).contains(&service));
    let shown = cluster.command(&["service", "show", &service, "--config", "--audit"]);
    for wanted in ["Drifted", "in force", "<mtu>9000</mtu>", &repair] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    assert!(cluster.command(&["service", "redeploy", &service, "--watch"]).contains("Completed"));
    assert!(cluster.command(&["service", "audit", &service, "--config", "--watch"]).contains("In sync"));

    assert!(cluster.command(&["pool", "list"]).contains("vlan"));
    assert!(cluster.command(&["pool", "show", "vlan"]).contains(&service));
    assert!(cluster.command(&["service", "decommission", &service, "--watch"]).contains("Completed"));
    assert!(!cluster.command(&["pool", "show", "vlan"]).contains(&service), "its numbers are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_checked_published_and_stay() {
    let cluster = Cluster::running(Options::default()).await;
    let catalogue = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/services");
    let checked = cluster.command(&["definition", "check", &catalogue.display().to_string()]);
    assert!(checked.contains("sim: the example is rendered for "), "{checked}");
    let same = cluster.command(&["definition", "publish", &catalogue.display().to_string()]);
    assert!(same.contains("eline version 1: the same is published already"), "{same}");

    let copy = cluster.dir.join("eline");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(catalogue.join("eline")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let main = copy.join("definition.yaml");
    let text = std::fs::read_to_string(&main).unwrap();
    let folder = copy.display().to_string();
    std::fs::write(&main, text.replace("title: Ethernet line", "title: Another line")).unwrap();
    let (code, _, err) = cluster.try_command(&["definition", "publish", &folder]);
    assert_eq!(code, 3, "a published version stays as it is: {err}");
    let next = text.replace("version: 1", "version: 2");
    std::fs::write(&main, &next).unwrap();
    assert_eq!(cluster.command(&["definition", "publish", &folder]), "eline version 2: published\n");
    assert!(cluster.command(&["definition", "list"]).contains("1,2"));
    let shown = cluster.command(&["definition", "show", "eline", "--version", "1"]);
    assert!(shown.contains("version      1\n") && shown.contains("vc_id"), "{shown}");

    std::fs::write(&main, next.replace("template: sim.xml.j2", "templat: sim.xml.j2")).unwrap();
    let line = next.lines().position(|line| line.contains("template: sim.xml.j2")).unwrap() + 1;
    let place = format!("{}:{line}: ", main.display());
    let (code, out, _) = cluster.try_command(&["definition", "check", &folder]);
    assert!(code == 1 && out.contains(&place), "{place} in {out}");
    let (code, _, err) = cluster.try_command(&["definition", "publish", &folder]);
    assert!(code == 1 && err.contains(&place), "{place} in {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_come_from_lists_and_are_checked() {
    let cluster = Cluster::running(Options::default()).await;
    let config = |file: &str| format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/{}"), file);
    let dry = cluster.command(&["device", "import", &config("devices.yaml"), "--dry-run"]);
    assert!(dry.contains("4 new, 0 unchanged; nothing was stored"), "{dry}");
    let added = cluster.command(&["device", "import", &config("devices.csv")]);
    assert!(added.contains("new       pe1-ams"), "{added}");
    let again = cluster.command(&["device", "import", &config("devices.yaml")]);
    assert_eq!(again, "0 new, 4 unchanged\n");
    let netbox = [
        "device",
        "import",
        &config("netbox-export.json"),
        "--region-from",
        "custom_fields.worker_region",
        "--platform-map",
        "example-os=sim,sample-linux=ietf",
        "--credential",
        "core",
    ];
    let differs = cluster.command(&netbox);
    assert!(differs.contains("differs   cpe7  credential cpe -> core"), "{differs}");
    let changed = cluster.command(&[&netbox[..], &["--update"]].concat());
    assert!(changed.contains("changed   cpe7") && changed.contains("3 changed"), "{changed}");
    assert!(cluster.command(&["device", "show", "cpe7"]).contains("core"));
    let bad = cluster.dir.join("bad.csv");
    std::fs::write(
        &bad,
        "name,region,platform,address\npe/7,eu-west,sim,192.0.2.7\npe8,eu-west,sim,192.0.2.8\n",
    )
    .unwrap();
    let bad = bad.display().to_string();
    let (code, out, _) = cluster.try_command(&["device", "import", &bad]);
    assert!(code == 1 && out.contains("bad.csv line 2, pe/7") && out.contains("for example pe-7"), "{out}");
    assert_eq!(cluster.try_command(&["device", "show", "pe8"]).0, 1, "nothing was imported");
    let (code, out, err) = cluster.try_command(&["device", "import", &bad, "--skip-bad"]);
    assert!(code == 1 && out.contains("1 new, 0 unchanged, 1 bad"), "{code} {out}");
    assert!(err.contains("1 entry can't be used and was left out"), "{err}");
    // What the intake would refuse is not new, in a dry run too.
    let twin = cluster.dir.join("twin.csv");
    std::fs::write(
        &twin,
        "name,region,platform,address\npe10,eu-west,sim,192.0.2.8\npe11,eu-west,sim,192.0.2.11\n",
    )
    .unwrap();
    let (code, out, _) = cluster.try_command(&["device", "import", &twin.display().to_string(), "--dry-run"]);
    assert!(code == 1 && out.contains("1 new, 0 unchanged, 1 refused"), "{code} {out}");
    assert!(!out.contains("new       pe10") && out.contains("refused   pe10: "), "{out}");
    assert!(out.contains("new       pe11"), "{out}");

    let device = &cluster.simulator.inventory()[0];
    let checked = cluster.command(&["device", "check", &device.name]);
    for wanted in
        ["platform     sim", "the pinned one", "method       confirmed-commit:1.1", "YANG", "capabilities"]
    {
        assert!(checked.contains(wanted), "{wanted} in {checked}");
    }
    assert_eq!(cluster.command(&["device", "check", &device.name, "--last"]), checked);
    let _ = cluster.command(&["device", "remove", &device.name]);
    let port = device.port.to_string();
    let _ = cluster.command(&[
        "device",
        "add",
        "pe9",
        "--region",
        "eu-west",
        "--platform",
        "sim",
        "--address",
        "127.0.0.1",
        "--port",
        &port,
        "--credential",
        "sim",
    ]);
    let (_, unpinned, _) = cluster.try_command(&["device", "check", "pe9"]);
    let trust = unpinned.lines().find(|line| line.trim_start().starts_with("turnup device trust")).unwrap();
    let words: Vec<&str> = trust.split_whitespace().skip(1).collect();
    let _ = cluster.command(&words);
    assert!(cluster.command(&["device", "check", "pe9"]).contains("the pinned one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_comes_up_again_after_a_crash_and_refuses_a_second_one() {
    let mut cluster = Cluster::new(Options::default()).await;
    let state = cluster.dir.join("dev").display().to_string();
    let dev = ["dev", "--devices", "4", "--state", &state];
    let order = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo/eline.yaml");
    let is_up = async |cluster: &Cluster| {
        cluster.intake_ready().await;
        turnup_tests::wait::until("the devices to be registered", turnup_tests::wait::PATIENCE, || async {
            cluster.processes["dev"].output().contains("turnup is up").then_some(())
        })
        .await;
    };
    cluster.start("dev", &dev, &[]);
    is_up(&cluster).await;
    let done = cluster.command(&["order", "submit", order, "--watch"]);
    assert!(done.contains("Completed"), "{done}");

    let (code, _, err) = cluster.try_command(&dev);
    assert!(code == 3 && err.contains("turnup dev runs already"), "{code} {err}");
    let other = cluster.dir.join("other").display().to_string();
    let (code, _, err) = cluster.try_command(&["dev", "--devices", "4", "--state", &other]);
    assert!(code == 1 && err.contains("TURNUP_INTAKE_LISTEN="), "{code} {err}");
    assert!(cluster.command(&["device", "check", "sim-eu-west-1"]).contains("the pinned one"));

    let log = cluster.dir.join("dev.log");
    for signal in ["INT", "KILL"] {
        cluster.process("dev").signal(signal);
        cluster.process("dev").wait(turnup_tests::wait::PATIENCE);
        std::fs::write(&log, "").unwrap();
        // Somebody else has the port of the first device by now.
        let port =
            cluster.query("SELECT port FROM devices WHERE name = 'sim-eu-west-1'").await[0].get::<_, i32>(0);
        let _squatter = std::net::TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
        cluster.start("dev", &dev, &[]);
        is_up(&cluster).await;
        let checked = cluster.command(&["device", "check", "sim-eu-west-1"]);
        assert!(checked.contains("the pinned one") && !checked.contains(&port.to_string()), "{checked}");
        let service = id_in(&cluster.command(&["service", "list"]));
        let audit = cluster.command(&["service", "audit", &service, "--config", "--watch"]);
        assert!(audit.contains("In sync"), "what was deployed is still there: {audit}");
    }
}
