use super::*;

fn defaults() -> Defaults {
    Defaults::default()
}

fn netbox() -> Defaults {
    Defaults { region: Some("eu-west".to_owned()), ..defaults() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The options of an import.
fn import(form: Form, defaults: &Defaults) -> Import {
    Import {
        files: Vec::new(),
        format: form,
        defaults: defaults.clone(),
        all: false,
        partial: false,
        delimiter: None,
        skip_bad: false,
        update: false,
        dry_run: false,
    }
}

/// Reads a text as a file of this name.
fn read(file: &str, text: &str, defaults: &Defaults) -> Read {
    parse(text, Path::new(file), &import(Form::Auto, defaults)).unwrap()
}

/// The first fault of a file that can't be read.
fn fault(file: &str, text: &str, import: &Import) -> String {
    parse(text, Path::new(file), import).unwrap_err()[0].to_string()
}

fn devices(read: &Read) -> Vec<Value> {
    assert_eq!(read.bad, [], "nothing is bad");
    read.rows.iter().map(|row| row.device.clone()).collect()
}

fn bad(read: &Read) -> Vec<String> {
    read.bad.iter().map(ToString::to_string).collect()
}

/// A worked example of `config/`.
fn example(file: &str, defaults: &Defaults) -> Read {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(file);
    read(file, &std::fs::read_to_string(path).unwrap(), defaults)
}

#[test]
fn the_lists_in_config_say_the_same() {
    let csv = devices(&example("devices.csv", &defaults()));
    assert_eq!(csv.len(), 4);
    assert_eq!(
        csv[0],
        json!({"name": "pe1-ams", "region": "eu-west", "platform": "sim", "address": "192.0.2.1", "port": 830,
               "credential": "lab", "description": "Amsterdam, edge"})
    );
    let yaml = example("devices.yaml", &defaults());
    assert_eq!(yaml.rows[1].place, "devices.yaml line 9");
    for (csv, yaml) in csv.iter().zip(devices(&yaml)) {
        for field in ["name", "region", "platform", "address", "host_key", "description", "credential"] {
            assert_eq!(csv.get(field), yaml.get(field), "{field}");
        }
    }
}

#[test]
fn the_exports_in_config_say_the_same() {
    let options = Defaults {
        region_from: Some("site".to_owned()),
        region_map: texts(&["ams1=eu-west", "PAR1=eu-west"]),
        platform_map: texts(&["example-os=sim", "Example OS=sim", "sample-linux=ietf", "sample linux=ietf"]),
        credential: Some("lab".to_owned()),
        ..defaults()
    };
    let csv = example("netbox-export.csv", &options);
    let json = example("netbox-export.json", &options);
    assert_eq!(devices(&csv), devices(&json));
    assert_eq!(
        devices(&csv)[2],
        json!({"name": "cpe7", "region": "eu-west", "platform": "ietf", "address": "2001:db8::7",
               "credential": "lab", "description": "Bakery HQ"})
    );
    let left_out: Vec<String> = csv.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        left_out,
        ["netbox-export.csv line 5, pe2-ams: its status is planned, not active (--all takes it too)"]
    );
    assert!(json.skipped[0].place.starts_with("netbox-export.json line "), "{}", json.skipped[0].place);
}

#[test]
fn a_region_comes_from_any_field() {
    let from = |field: &str| Defaults {
        region_from: Some(field.to_owned()),
        platform: Some("sim".to_owned()),
        ..defaults()
    };
    let read = example("netbox-export.json", &from("site"));
    assert_eq!(devices(&read)[1]["region"], "par1", "the slug");
    let read = example("netbox-export.json", &from("custom_fields.worker_region"));
    assert_eq!(devices(&read)[1]["region"], "eu-west");
    let read = example("netbox-export.csv", &from("Role"));
    assert_eq!(
        bad(&read)[0],
        "netbox-export.csv line 2, pe1-ams: its Role \"Provider edge\" is no region name; name one, such as \
         --region-map 'Provider edge=provider-edge'"
    );
    let read = example("netbox-export.json", &from("location"));
    assert!(bad(&read)[0].contains("it has no location in NetBox"), "{:?}", read.bad);
}

#[test]
fn platforms_of_netbox_are_mapped() {
    let json = |options| example("netbox-export.json", &options);
    assert_eq!(devices(&json(netbox()))[2]["platform"], "sample-linux", "the slug, if nothing else is said");
    let mapped = Defaults { platform_map: texts(&["example-os=sim"]), ..netbox() };
    let read = json(mapped.clone());
    assert_eq!(read.rows.len(), 2);
    assert!(bad(&read)[0].contains("\"sample-linux\" is not in --platform-map"), "{:?}", read.bad);
    let rest = json(Defaults { platform: Some("ietf".to_owned()), ..mapped });
    assert_eq!(devices(&rest)[2]["platform"], "ietf");
}

#[test]
fn netbox_devices_that_cannot_be_used_are_named() {
    let text = "name,status,site,platform,primary_ip4\n\
                pe 1 (old),active,ams1,sim,192.0.2.1/32\n\
                ,active,ams1,sim,192.0.2.2/32\n\
                pe3,active,ams1,sim,\n\
                pe4,active,ams1,,192.0.2.4/32\n\
                pe5,active,ams1,sim,ams\n\
                pe6,offline,ams1,sim,\n\
                pe7,active,ams1,sim,192.0.2.7/24\n";
    let read = read("x.csv", text, &netbox());
    let bad = bad(&read);
    for (bad, wanted) in bad.iter().zip([
        "x.csv line 2, pe 1 (old): \"pe 1 (old)\" is no device name",
        "x.csv line 3: it has no name in NetBox; give it one there",
        "x.csv line 4, pe3: it has no primary IP address in NetBox; give it one there",
        "x.csv line 5, pe4: it has no platform in NetBox; give it one there, or --platform for all",
        "x.csv line 6, pe5: its primary IP address \"ams\" is no IP address",
    ]) {
        assert!(bad.starts_with(wanted), "{bad}");
    }
    assert_eq!(bad.len(), 5, "each is said once: {bad:?}");
    assert!(bad[0].ends_with("; for example pe-1-old"), "{}", bad[0]);
    assert_eq!((read.rows.len(), read.skipped.len()), (1, 1));
    let all = Import { all: true, ..import(Form::Netbox, &netbox()) };
    let all = parse(text, Path::new("x.csv"), &all).unwrap();
    assert_eq!((all.skipped.len(), all.bad.len()), (0, 6), "{:?}", all.bad);
}

#[test]
fn netbox_needs_a_region_and_readable_maps() {
    let fails = |defaults: &Defaults| fault("x.csv", "name,primary_ip4\n", &import(Form::Netbox, defaults));
    assert!(fails(&defaults()).contains("--region-from site"));
    assert!(
        fails(&Defaults { platform_map: texts(&["junos"]), ..netbox() }).contains("--platform-map \"junos\"")
    );
}

#[test]
fn pages_are_complete_together() {
    let page = |name: &str, next: Value, count: Value| {
        let text = json!({"count": count, "next": next, "results": [
            {"name": name, "platform": {"slug": "sim"}, "primary_ip4": {"address": "192.0.2.1/32"}}]});
        read("x.json", &text.to_string(), &netbox())
    };
    let missing = |pages: Vec<Read>| {
        let mut all = Read::default();
        pages.into_iter().for_each(|page| all.add(page));
        all.missing_pages()
    };
    let next = || json!("http://netbox.example/?offset=1");
    let first = || page("pe1", next(), json!(2));
    let said = missing(vec![first()]).unwrap();
    assert!(said.starts_with("only 1 of 2 devices") && said.contains("?offset=1"), "{said}");
    assert_eq!(missing(vec![first(), page("pe2", json!(null), json!(2))]), None);
    assert!(missing(vec![page("pe2", json!(null), json!(2))]).is_some(), "the last page alone");
    assert_eq!(missing(vec![page("pe1", json!(null), json!(1))]), None);
    assert!(missing(vec![page("pe1", next(), json!(null))]).is_some());
    assert_eq!(missing(vec![page("pe1", next(), json!(null)), page("pe2", json!(null), json!(null))]), None);
}

#[test]
fn exports_of_a_desk_that_is_not_english_are_named() {
    let auto = import(Form::Auto, &netbox());
    for (headings, language) in [
        ("Name,Status,Mandant,Standort,Rack,Rolle,Hersteller,Typ,IP-Adresse", "German"),
        ("Nom;Statut;Locataire;Site;Baie;Rôle;Fabricant;Type;Adresse IP", "French"),
        ("Nombre,Estado,Inquilino,Sitio,Rack,Rol,Fabricante,Tipo,Dirección IP", "Spanish"),
        ("Nome,Stato,Locatario,Sito,Rack,Ruolo,Produttore,Tipo,Indirizzo IP", "Italian"),
        ("Имя;Статус;Арендатор;Площадка;Стойка;Роль;Производитель;Тип;IP-адрес", "Russian"),
        ("Назва;Статус;Орендар;Сайт;Стійка;Роль;Виробник;Тип;IP-адреса", "Ukrainian"),
        ("Статус,Роль,Тип", "Russian or Ukrainian"),
        ("名称,状态,租户,站点,机柜,角色,制造商,类型,IP地址", "Chinese"),
    ] {
        for form in [Form::Auto, Form::Netbox] {
            let said =
                fault("x.csv", &format!("{headings}\n"), &Import { format: form, ..import(form, &netbox()) });
            assert!(said.starts_with(&format!("the headings are {language} (")), "{said}");
            assert!(said.contains("set it to English"), "{said}");
        }
    }
    let twice = fault("x.csv", "Name,name,primary_ip\na,b,192.0.2.1/32\n", &auto);
    assert!(twice.contains("\"Name\" and \"name\" name the same field"), "{twice}");
}

#[test]
fn headings_in_a_language_that_is_not_known_are_named_once() {
    for form in [Form::Auto, Form::Netbox, Form::Csv] {
        let said = fault("x.csv", "Ainm;Stádas;Suíomh;Ról\npe1;Gníomhach;ams;pe\n", &import(form, &netbox()));
        assert!(
            said.starts_with("none of the headings is known (\"Ainm\", \"Stádas\", \"Suíomh\""),
            "{said}"
        );
        assert!(said.contains("name, region, platform") && said.contains("set it to English"), "{said}");
    }
    // One known heading is enough for the faults of single fields.
    let read = read("x.csv", "name;regoin\npe1;eu\n", &defaults());
    assert!(bad(&read)[0].contains("did you mean \"region\"?"), "{:?}", read.bad);
}

#[test]
fn a_page_that_is_given_twice_completes_nothing() {
    let page = |ids: [u32; 2]| {
        let device = |id: u32| {
            json!({"id": id, "name": format!("pe{id}"), "platform": {"slug": "sim"},
                   "primary_ip4": {"address": format!("192.0.2.{id}/32")}})
        };
        let text = json!({"count": 4, "next": "http://netbox.example/?offset=2", "results": ids.map(device)});
        read("x.json", &text.to_string(), &netbox())
    };
    let missing = |pages: [Read; 2]| {
        let mut all = Read::default();
        pages.into_iter().for_each(|page| all.add(page));
        all.missing_pages()
    };
    assert!(missing([page([1, 2]), page([1, 2])]).unwrap().starts_with("only 2 of 4 devices"));
    assert_eq!(missing([page([1, 2]), page([3, 4])]), None);
}

#[test]
fn statuses_that_are_not_known_are_bad() {
    let text = "name;status;primary_ip;platform;site\npe1;Aktiv;192.0.2.1/24;sim;ams1\npe2;planned;192.0.2.2/24;sim;ams1\n";
    let found = read("x.csv", text, &netbox());
    assert_eq!((found.rows.len(), found.bad.len(), found.skipped.len()), (0, 1, 1));
    let said = bad(&found).remove(0);
    assert!(
        said.starts_with("x.csv line 2, pe1: its status \"aktiv\" is not known; known are active, "),
        "{said}"
    );
    let all = Import { all: true, ..import(Form::Auto, &netbox()) };
    assert_eq!(parse(text, Path::new("x.csv"), &all).unwrap().rows.len(), 2, "--all looks at no status");
}

#[test]
fn names_come_out_as_they_are_written() {
    let text = "- {name: 0755, region: no, platform: sim, address: 192.0.2.1}\n\
                - {name: 7e12, region: eu, platform: sim, address: 192.0.2.2, port: 2830}\n\
                - {name: 1_000, region: eu, platform: sim, address: 192.0.2.3}\n\
                - {name: 1.10, region: eu, platform: sim, address: 192.0.2.4}\n";
    let names: Vec<Value> =
        devices(&read("x.yaml", text, &defaults())).iter().map(|d| d["name"].clone()).collect();
    assert_eq!(names, ["0755", "7e12", "1_000", "1.10"]);
    assert_eq!(devices(&read("x.yaml", text, &defaults()))[0]["region"], "no");
    let json = read(
        "x.json",
        "[{\"name\": 7e12, \"region\": \"eu\", \"platform\": \"sim\", \"address\": \"192.0.2.1\"}]",
        &defaults(),
    );
    assert!(bad(&json)[0].contains("name must be a text; write it in quotes"), "{:?}", json.bad);
    let faults =
        parse("name: a\nname: b\n", Path::new("x.yaml"), &import(Form::Auto, &defaults())).unwrap_err();
    assert_eq!(faults, [Fault::at(2, "the key \"name\" is there twice, first in line 1")]);
}

#[test]
fn what_a_list_leaves_out_comes_from_options() {
    let options = Defaults {
        region: Some("eu-west".to_owned()),
        platform: Some("sim".to_owned()),
        credential: Some("lab".to_owned()),
        port: Some(2830),
        ..defaults()
    };
    let read = read("x.csv", "name,address,region,port\npe1,192.0.2.1,us-east,\n7,192.0.2.7,,22\n", &options);
    assert_eq!(
        devices(&read),
        [
            json!({"name": "pe1", "address": "192.0.2.1", "region": "us-east", "platform": "sim",
                   "credential": "lab", "port": 2830}),
            json!({"name": "7", "address": "192.0.2.7", "region": "eu-west", "platform": "sim",
                   "credential": "lab", "port": 22}),
        ]
    );
}

#[test]
fn entries_of_a_list_that_cannot_be_used_are_named() {
    let text = "name,region,platform,address,port,descripton\n\
                pe/1,eu-west,sim,192.0.2.1,830,\n\
                pe2,eu.west,sim,192.0.2.2:830 x,0,\n\
                pe3,,sim,192.0.2.3,,\n\
                pe4,eu-west,sim,192.0.2.4,,x\n\
                pe5,eu-west,sim,192.0.2.5,,\n\
                pe5,eu-west,sim,192.0.2.6,,\n\
                pe6,multi,sim,192.0.2.7,,\n";
    let mut read = read("x.csv", text, &defaults());
    read.refuse_twins();
    let bad = bad(&read);
    for wanted in [
        ["x.csv line 2, pe/1: ", "for example pe-1"],
        ["x.csv line 3, pe2: ", "\"eu.west\" is no region name"],
        ["x.csv line 3, pe2: ", "without port"],
        ["x.csv line 3, pe2: ", "port must be a number"],
        ["x.csv line 4, pe3: ", "it has no region; give --region for all"],
        ["x.csv line 5, pe4: ", "did you mean \"description\"?"],
        ["x.csv line 7, pe5: ", "the same name as in x.csv line 6"],
        ["x.csv line 8, pe6: ", "\"multi\" is reserved"],
    ] {
        let said = bad.iter().any(|line| line.starts_with(wanted[0]) && line.contains(wanted[1]));
        assert!(said, "{wanted:?} in {bad:#?}");
    }
    assert_eq!((read.rows.len(), read.bad.len()), (1, 6));
}

#[test]
fn every_syntax_is_read() {
    let device = json!({"name": "pe1", "region": "eu", "platform": "sim", "address": "192.0.2.1"});
    for (file, text) in [
        ("x.json", json!([device]).to_string()),
        ("x.json", device.to_string()),
        ("x.ndjson", format!("{device}\n\n")),
        ("x.yaml", "name: pe1\nregion: eu\nplatform: sim\naddress: 192.0.2.1\n".to_owned()),
        ("x.yml", "- {name: pe1, region: eu, platform: sim, address: 192.0.2.1}\n".to_owned()),
        ("x.csv", "name;region;platform;address\npe1;eu;sim;192.0.2.1\n".to_owned()),
    ] {
        assert_eq!(devices(&read(file, &text, &defaults())), std::slice::from_ref(&device), "{file}: {text}");
    }
    let path = Path::new("devices");
    let path = path.to_str().unwrap();
    assert!(fault(path, "", &import(Form::Auto, &defaults())).contains("--format"));
    let read = parse("[1]", Path::new(path), &import(Form::Json, &defaults())).unwrap();
    assert!(read.bad[0].reason.contains("object"));
    assert!(fault("x.ndjson", "{", &import(Form::Auto, &defaults())).contains("line 1"));
}

#[test]
fn a_list_of_ours_is_not_taken_for_netbox() {
    let read = read("x.csv", "name,region,platform,address,description\npe1,eu,sim,192.0.2.1,x\n", &netbox());
    assert_eq!(devices(&read)[0]["region"], "eu");
}

fn row(device: Value) -> Row {
    Row { place: "x.csv line 2".to_owned(), device }
}

#[test]
fn only_what_the_file_says_is_compared() {
    let present = json!({"name": "pe1", "region": "eu", "platform": "sim", "address": "192.0.2.1", "port": 830,
                         "host_key": "SHA256:x", "credential": null, "created_at": "T"});
    let wanted = json!({"name": "pe1", "region": "eu", "platform": "sim", "address": "192.0.2.1"});
    assert_eq!(compare(&wanted, None), Step::Add);
    assert_eq!(compare(&wanted, Some(&present)), Step::Keep);
    let moved = row(json!({"name": "pe1", "address": "192.0.2.9", "credential": "lab"}));
    let step = compare(&moved.device, Some(&present));
    let Step::Change(changes) = &step else { panic!("{step:?}") };
    assert_eq!(apply::patch(changes), json!({"address": "192.0.2.9", "credential": "lab"}));
    assert_eq!(
        apply::said(&moved, &step, false).unwrap(),
        "differs   pe1  address 192.0.2.1 -> 192.0.2.9, credential – -> lab"
    );
    let kept = row(wanted);
    let steps = [(&kept, Step::Keep), (&kept, Step::Add), (&moved, step)];
    assert_eq!(apply::said(&kept, &Step::Keep, true), None);
    assert_eq!(
        apply::summary(&steps, false, true, 1, 2),
        "1 new, 1 unchanged, 1 differ and were left alone (--update changes them), 2 left out, 1 bad; nothing was \
         stored (--dry-run)"
    );
    assert_eq!(apply::summary(&steps, true, false, 0, 0), "1 new, 1 unchanged, 1 changed");
}

#[test]
fn the_intakes_faults_are_placed_in_the_file() {
    use turnup_core::problem::{Fault, Problem};
    let problem = Problem::invalid(vec![Fault::new("/0/host_key", "bad_value", "no host key")]);
    let said = apply::placed(problem, &[&row(json!({"name": "pe1"}))]).to_string();
    assert!(said.contains("x.csv line 2, pe1, host_key: no host key"), "{said}");
}
