//! Publishing definitions.

use std::{fs, path::Path};

use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_core::{ask::SchemaText, policy::Role};
use turnup_library::{Library, LibraryError};

use crate::support::{Intake, run, run_bare, send, with};

fn bundle(version: u32, title: &str) -> Value {
    json!({"files": {
        "definition.yaml": format!(
            "name: label\nversion: {version}\ntitle: {title}\n\
             attributes:\n  properties:\n    text: {{type: string, minLength: 1, maxLength: 20}}\n  required: [text]\n\
             endpoints:\n  at:\n    title: Place\n\
             platforms:\n  sim:\n    template: sim.xml.j2\n    keys: {{label: [name]}}\n    owns: [labels/label]\n"
        ),
        "sim.xml.j2": "<labels xmlns=\"urn:x\"><label><name>{{ service.id }}</name><text>{{ attributes.text }}</text></label></labels>",
    }})
}

async fn publish(intake: &Intake, bundle: &Value) -> crate::support::Answer {
    send(intake.post("/v1/definitions", bundle)).await
}

#[test]
fn a_version_is_published_once_and_ordered_at_once() {
    run(async |scope, intake| {
        let new = publish(intake, &bundle(1, "One")).await;
        assert_eq!(new.status, 201, "{}", new.body);
        assert_eq!(new.header("location"), "/v1/definitions/label?version=1");
        assert_eq!(publish(intake, &bundle(1, "One")).await.status, 200);
        let other = publish(intake, &bundle(1, "Another")).await;
        other.is_problem(409, "version_published");
        assert!(other.body["detail"].as_str().unwrap().contains("raise 'version'"));
        assert_eq!(publish(intake, &bundle(3, "Three")).await.status, 201);

        let order = json!({
            "kind": "provision", "definition": "label", "attributes": {"text": "a"},
            "endpoints": [{"role": "at", "device": "sim-eu-1"}],
        });
        assert_eq!(intake.order(&order).await["definition_version"], 3, "the newest");
        let old = intake.order(&with(order.clone(), json!({"definition_version": 1}))).await;
        assert_eq!(old["definition_version"], 1);
        let refused = send(intake.post("/v1/orders", &with(order, json!({"definition_version": 2})))).await;
        refused.has_fault("/definition_version", "unknown_version");
        assert!(refused.body["detail"].as_str().unwrap().contains("1, 3"), "{}", refused.body);

        let list = intake.show("/v1/definitions").await.body;
        let label =
            list["items"].as_array().unwrap().iter().find(|it| it["name"] == "label").unwrap().clone();
        assert_eq!((&label["version"], &label["versions"]), (&json!(3), &json!([1, 3])));
        let one = intake.show("/v1/definitions/label?version=1").await.body;
        assert_eq!((&one["title"], &one["files"]), (&json!("One"), &bundle(1, "One")["files"]));
        assert_eq!(intake.show("/v1/definitions/label").await.body["title"], "Three");
        for path in ["/v1/definitions/label?version=2", "/v1/definitions/nothing", "/v1/definitions/a%20b"] {
            intake.show(path).await.is_problem(404, "not_found");
        }
        intake.show("/v1/definitions/label?version=x").await.is_problem(400, "unreadable");
        let designer =
            intake.request(reqwest::Method::POST, "/v1/definitions").bearer_auth(scope.token(Role::Designer));
        assert_eq!(send(designer.json(&bundle(4, "Four"))).await.status, 201);
    });
}

#[test]
fn mistakes_are_named_by_file_and_line() {
    run(async |scope, intake| {
        let mut wrong = bundle(1, "One");
        wrong["files"]["sim.xml.j2"] = json!("<labels xmlns=\"urn:x\">{{ attributes.txt }}</labels>");
        let refused = publish(intake, &wrong).await;
        refused.is_problem(422, "invalid");
        refused.has_fault("label/sim.xml.j2:1", "mistake");
        let text = bundle(1, "One")["files"]["definition.yaml"].as_str().unwrap().to_owned();
        let pooled = text.replace("endpoints:", "resources:\n  text: {pool: nothing}\nendpoints:");
        let mut wrong = bundle(1, "One");
        wrong["files"]["definition.yaml"] = json!(pooled);
        let refused = publish(intake, &wrong).await;
        refused.is_problem(422, "invalid");
        assert!(refused.body.to_string().contains("there is no pool"), "{}", refused.body);
        for bad in [
            json!({}),
            json!({"files": {}}),
            json!({"files": {"../x": "", "definition.yaml": ""}}),
            json!({"files": {"definition.yaml": 1}}),
            json!({"files": {"definition.yaml": "a: ["}}),
            json!({"files": {"definition.yaml": ""}, "more": 1}),
            json!([]),
        ] {
            publish(intake, &bad).await.is_problem(422, "invalid");
        }
        assert_eq!(scope.count("definitions WHERE name = 'label'").await, 0);
    });
}

#[test]
fn what_another_intake_publishes_can_be_ordered_here() {
    run(async |scope, intake| {
        let other = scope.intake(turnup_intake::Settings::default()).await;
        assert_eq!(publish(&other, &bundle(1, "One")).await.status, 201);
        let order = json!({
            "kind": "provision", "definition": "label", "attributes": {"text": "a"},
            "endpoints": [{"role": "at", "device": "sim-eu-1"}],
        });
        intake.order(&order).await;
        assert_eq!(publish(&other, &bundle(2, "Two")).await.status, 201);
        intake.order(&with(order, json!({"definition_version": 2}))).await;
        other.stop().await;
    });
}

#[test]
fn of_a_version_that_a_later_release_has_published_it_is_told_why_it_cant_be_used() {
    run(async |scope, intake| {
        assert_eq!(publish(intake, &bundle(1, "One")).await.status, 201);
        let mut later = bundle(2, "Two")["files"].clone();
        later["definition.yaml"] =
            json!(format!("{}of_a_later_release: true\n", later["definition.yaml"].as_str().unwrap()));
        let later = turnup_store::NewDefinition {
            name: "label".to_owned(),
            version: 2,
            title: "Two".to_owned(),
            files: later,
            digest: [2; 32],
            retry: turnup_core::retry::RetryChanges::default(),
        };
        scope.store.publish(&[later], "later", Timestamp::now()).await.unwrap();
        let order = json!({
            "kind": "provision", "definition": "label", "attributes": {"text": "a"},
            "endpoints": [{"role": "at", "device": "sim-eu-1"}],
        });
        let told = |answer: &crate::support::Answer| {
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("label version 2 is published"), "{detail}");
            assert!(detail.contains("of_a_later_release") && detail.contains("upgrade turnup"), "{detail}");
        };
        let refused =
            send(intake.post("/v1/orders", &with(order.clone(), json!({"definition_version": 2})))).await;
        refused.has_fault("/definition", "unreadable_definition");
        told(&refused);
        let shown = intake.show("/v1/definitions/label?version=2").await;
        shown.is_problem(404, "not_found");
        told(&shown);
        assert_eq!(intake.order(&order).await["definition_version"], 1, "the newest that can be read");
    });
}

#[test]
fn a_folder_with_other_content_under_a_published_number_is_refused() {
    run_bare(async |scope| {
        let folder = std::env::temp_dir().join(format!("{}-catalogue", scope.prefix));
        let write = |bundle: &Value| {
            let dir = folder.join("label");
            fs::create_dir_all(&dir).unwrap();
            for (name, text) in bundle["files"].as_object().unwrap() {
                fs::write(Path::new(&dir).join(name), text.as_str().unwrap()).unwrap();
            }
        };
        let open = async || {
            let settings =
                turnup_library::Settings { folder: folder.clone(), ..turnup_library::Settings::default() };
            Library::open(scope.store.clone(), settings, true).await
        };
        write(&bundle(1, "One"));
        open().await.unwrap();
        open().await.unwrap();
        write(&bundle(1, "Another"));
        let error = open().await.unwrap_err();
        assert!(matches!(&error, LibraryError::Differs { version: 1, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("label version 1") && text.contains("raise 'version'"), "{text}");
        write(&bundle(2, "Two"));
        open().await.unwrap();
        fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn a_plan_is_checked_with_the_platforms_yang() {
    run(async |scope, intake| {
        assert_eq!(publish(intake, &bundle(1, "One")).await.status, 201);
        let text = "module labels {\n  yang-version 1.1;\n  namespace \"urn:x\";\n  prefix l;\n  revision 2026-01-01;\n  \
                    container labels {\n    list label {\n      key name;\n      leaf name { type string; }\n      \
                    leaf text { type string { length \"1..5\"; } }\n    }\n  }\n}\n";
        let module = SchemaText {
            name: "labels".to_owned(),
            revision: Some("2026-01-01".to_owned()),
            text: text.to_owned(),
        };
        scope.store.keep_modules("sim", &[module], Timestamp::now()).await.unwrap();
        let order = |text: &str| {
            json!({
                "kind": "provision", "definition": "label", "attributes": {"text": text},
                "endpoints": [{"role": "at", "device": "sim-eu-1"}],
            })
        };
        let plan = send(intake.post("/v1/orders?dry_run=true", &order("short"))).await;
        assert_eq!(
            plan.body["yang"],
            json!([{"platform": "sim", "checked": true, "modules": 1, "left_out": [], "unchecked": []}]),
            "{}",
            plan.body
        );
        let refused = send(intake.post("/v1/orders?dry_run=true", &order("too long"))).await;
        refused.is_problem(422, "invalid");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("sim-eu-1") && detail.contains("/labels/label"), "{detail}");
        // The order is accepted as such; the scheduler would say the same.
        let stored = intake.order(&order("too long")).await;
        let path = format!("/v1/orders/{}/plan", stored["id"].as_str().unwrap());
        assert!(intake.show(&path).await.body["detail"].as_str().unwrap().contains("/labels/label"));
    });
}
