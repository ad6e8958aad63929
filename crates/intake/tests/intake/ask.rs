//! Questions to devices: the way to a region's worker and back. The workers here are ours to script; what real
//! ones do, the whole-system tests see.

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use turnup_core::{
    ask::{Answer, Ask, DeviceCheck, Module, Question, SchemaPiece, SchemaText},
    exam::{Answer as Found, ExamReport, Finding, Probe},
    failure::{Failure, FailureClass},
    message::Body as _,
    piece::Piece,
    policy::Role,
};
use turnup_intake::Settings;

use crate::support::{Foreign, Scope, deployed, eline, given, run, run_bare, send};

/// Answers the questions of region eu until it is aborted.
async fn worker(scope: &Scope, answer: impl Fn(Ask) -> Answer + Send + 'static) -> JoinHandle<()> {
    let foreign = Foreign::connect(scope).await;
    let queue = scope.broker.names().ask_queue("eu");
    let (tag, options) = ("worker".into(), BasicConsumeOptions::default());
    let mut asks = foreign
        .channel
        .basic_consume(queue.as_str().into(), tag, options, FieldTable::default())
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Some(Ok(ask)) = asks.next().await {
            let body = answer(Ask::decode(&ask.data).unwrap()).encode().unwrap();
            let to = ask.properties.reply_to().clone().unwrap();
            let id = ask.properties.correlation_id().clone().unwrap();
            let properties = BasicProperties::default().with_correlation_id(id);
            let options = BasicPublishOptions::default();
            foreign
                .channel
                .basic_publish("".into(), to, options, &body, properties)
                .await
                .unwrap()
                .await
                .unwrap();
            ask.acker.ack(BasicAckOptions::default()).await.unwrap();
        }
    })
}

fn answer() -> Answer {
    Answer {
        worker: "w1".to_owned(),
        failures: Vec::new(),
        notes: Vec::new(),
        check: None,
        schemas: Vec::new(),
        piece: None,
        exam: None,
    }
}

fn module(name: &str) -> Module {
    Module {
        name: name.to_owned(),
        revision: Some("2026-01-01".to_owned()),
        namespace: None,
        features: Vec::new(),
    }
}

fn schema(name: &str, text: &str) -> SchemaText {
    let text = format!(
        "module {name} {{\n  namespace \"urn:{name}\";\n  prefix p;\n  {text}\n  revision 2026-01-01;\n}}\n"
    );
    SchemaText { name: name.to_owned(), revision: Some("2026-01-01".to_owned()), text }
}

#[test]
fn a_device_is_checked_and_its_modules_are_fetched() {
    run(async |scope, intake| {
        let path = "/v1/devices/sim-eu-1/check";
        intake.show(path).await.is_problem(404, "not_found");
        let worker = worker(scope, |ask| {
            assert_eq!(ask.device.device.as_str(), "sim-eu-1");
            match ask.question {
                Question::Check => Answer {
                    check: Some(DeviceCheck {
                        host_key: Some("SHA256:x".to_owned()),
                        trusted: None,
                        capabilities: vec!["urn:ietf:params:netconf:base:1.1".to_owned()],
                        method: Some("candidate".to_owned()),
                        clock: None,
                        clock_skew_ms: None,
                        modules: vec![module("a"), module("b")],
                        connect_ms: 3,
                        remarks: Vec::new(),
                    }),
                    ..answer()
                },
                // As many as fit: one.
                Question::Schemas(wanted) => {
                    let name = wanted[0].0.as_str();
                    let text = if name == "a" { "import c { prefix c; }" } else { "" };
                    Answer { schemas: vec![schema(name, text)], ..answer() }
                }
                Question::TryEdit | Question::Exam(_) | Question::SchemaPiece { .. } => {
                    panic!("not asked for")
                }
            }
        })
        .await;
        let check = async |body: Value| send(intake.post(path, &body)).await;
        let plain = check(json!({})).await;
        assert_eq!(plain.status, 200, "{}", plain.body);
        assert_eq!(plain.body["check"]["method"], "candidate");
        assert_eq!((&plain.body["worker"], &plain.body["schemas"]), (&json!("w1"), &json!([])));
        assert_eq!(intake.show(path).await.body, plain.body, "it is kept");
        let fetched = check(json!({"fetch_yang": true})).await;
        assert_eq!(
            fetched.body["schemas"],
            json!(["a@2026-01-01", "b@2026-01-01", "c@2026-01-01"]),
            "{}",
            fetched.body
        );
        assert_eq!(scope.store.modules("sim").await.unwrap().len(), 3);
        let again = check(json!({"fetch_yang": true})).await;
        assert_eq!(again.body["schemas"], json!([]), "they are known");
        worker.abort();

        check(json!({"fetch_yang": 1})).await.has_fault("/fetch_yang", "wrong_type");
        check(json!({"fetch": true})).await.has_fault("/fetch", "unknown_field");
        send(intake.post("/v1/devices/nothing/check", &json!({}))).await.is_problem(404, "not_found");
        intake.show("/v1/devices/nothing/check").await.is_problem(404, "not_found");
        // Region us has no queue here.
        send(intake.post("/v1/devices/sim-us-1/check", &json!({}))).await.is_problem(504, "no_answer");
    });
}

#[test]
fn large_module_is_put_together_from_the_pieces_of_any_worker() {
    run(async |scope, intake| {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let worker = worker(scope, move |ask| {
            let large = |comment: &str| {
                let text = schema("big", "").text;
                format!("{text}{}", format!("// {comment}\n").repeat(1_200_000 / (comment.len() + 4)))
            };
            let piece = |text: &str, from: usize| {
                let mut room = 500_000;
                let piece = Piece::cut(text, from, |c| {
                    room -= c.len_utf8().min(room);
                    room > 0
                });
                let piece = piece.unwrap();
                SchemaPiece { name: "big".to_owned(), revision: Some("2026-01-01".to_owned()), piece }
            };
            match ask.question {
                Question::Check => {
                    let check = DeviceCheck {
                        host_key: None,
                        trusted: Some(true),
                        capabilities: Vec::new(),
                        method: None,
                        clock: None,
                        clock_skew_ms: None,
                        modules: vec![module("big")],
                        connect_ms: 1,
                        remarks: Vec::new(),
                    };
                    Answer { check: Some(check), ..answer() }
                }
                Question::Schemas(_) => Answer { piece: Some(piece(&large("before"), 0)), ..answer() },
                // The device was updated meanwhile: what has come of the text before is of no use.
                Question::SchemaPiece { from, .. } => {
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Answer { piece: Some(piece(&large("after, é"), from)), ..answer() }
                }
                Question::TryEdit | Question::Exam(_) => panic!("not asked for"),
            }
        })
        .await;
        let fetched =
            send(intake.post("/v1/devices/sim-eu-1/check", &json!({"fetch_yang": true}))).await.body;
        assert_eq!(fetched["schemas"], json!(["big@2026-01-01"]), "{fetched}");
        let kept = scope.store.modules("sim").await.unwrap();
        assert!(
            kept[0].text.len() > 1_100_000 && kept[0].text.ends_with("// after, é\n"),
            "{}",
            kept[0].text.len()
        );
        assert!(!kept[0].text.contains("before"), "the pieces are of one text");
        worker.abort();
    });
}

#[test]
fn modules_that_cannot_be_had_or_used_are_named() {
    run(async |scope, intake| {
        let worker = worker(scope, |ask| match ask.question {
            Question::Schemas(wanted) => {
                let (mut schemas, mut failures) = (Vec::new(), Vec::new());
                for (name, _) in wanted {
                    match name.as_str() {
                        "good" => schemas.push(schema("good", "")),
                        "needy" => schemas.push(schema("needy", "import gone { prefix g; }")),
                        _ => {
                            let why = format!("module {name}: the device has no such text");
                            let failure = Failure::new(FailureClass::Misconfigured, "get-schema", why);
                            failures.push(Failure { path: Some(name), ..failure });
                        }
                    }
                }
                Answer { schemas, failures, ..answer() }
            }
            _ => {
                let names = if ask.device.device.as_str() == "sim-eu-1" {
                    ["good", "gone"]
                } else {
                    ["good", "needy"]
                };
                let check = DeviceCheck {
                    host_key: None,
                    trusted: Some(true),
                    capabilities: Vec::new(),
                    method: None,
                    clock: None,
                    clock_skew_ms: None,
                    modules: names.map(module).to_vec(),
                    connect_ms: 1,
                    remarks: Vec::new(),
                };
                Answer { check: Some(check), ..answer() }
            }
        })
        .await;
        let fetch = async |device: &str| {
            send(intake.post(&format!("/v1/devices/{device}/check"), &json!({"fetch_yang": true}))).await.body
        };
        let partly = fetch("sim-eu-1").await;
        assert_eq!(partly["schemas"], json!(["good@2026-01-01"]), "{partly}");
        assert!(
            partly["left_out"].to_string().contains("module gone: the device has no such text"),
            "{partly}"
        );
        // A module that lacks what it imports is left out; the others are used.
        let flawed = fetch("sim-eu-2").await;
        assert!(flawed["left_out"].to_string().contains("needs module gone, which is missing"), "{flawed}");
        assert!(flawed["left_out"].to_string().contains("needy"), "{flawed}");
        assert!(!scope.store.modules("sim").await.unwrap().is_empty());
        worker.abort();
    });
}

#[test]
fn module_is_left_out_by_choice_until_it_is_used_again() {
    run(async |scope, intake| {
        let worker = worker(scope, |ask| match ask.question {
            Question::Schemas(wanted) => {
                let schemas = wanted.iter().map(|(name, _)| schema(name, "")).collect();
                Answer { schemas, ..answer() }
            }
            _ => {
                let check = DeviceCheck {
                    host_key: None,
                    trusted: Some(true),
                    capabilities: Vec::new(),
                    method: None,
                    clock: None,
                    clock_skew_ms: None,
                    modules: vec![module("good"), module("odd")],
                    connect_ms: 1,
                    remarks: Vec::new(),
                };
                Answer { check: Some(check), ..answer() }
            }
        })
        .await;
        let path = "/v1/devices/sim-eu-1/check";
        let check = async |body: Value| send(intake.post(path, &body)).await;
        check(json!({"ignore_modules": ["odd"]})).await.has_fault("/ignore_modules", "not_allowed");
        check(json!({"fetch_yang": true, "ignore_modules": "odd"}))
            .await
            .has_fault("/ignore_modules", "wrong_type");
        check(json!({"fetch_yang": true, "ignore_modules": ["od"]}))
            .await
            .has_fault("/ignore_modules", "unknown_module");
        check(json!({"fetch_yang": true, "use_modules": ["odd"]}))
            .await
            .has_fault("/use_modules", "unknown_module");

        let left_out = check(json!({"fetch_yang": true, "ignore_modules": ["odd"]})).await.body;
        assert_eq!(left_out["schemas"], json!(["good@2026-01-01"]), "{left_out}");
        assert!(
            left_out["left_out"].to_string().contains("odd")
                && left_out["left_out"].to_string().contains("left out by choice"),
            "{left_out}"
        );
        let later = check(json!({"fetch_yang": true})).await.body;
        assert!(later["left_out"].to_string().contains("left out by choice"), "the decision stays: {later}");
        let plan = send(intake.post("/v1/orders?dry_run=true", &eline())).await.body;
        assert!(
            plan["yang"][0]["left_out"].to_string().contains("odd (left out by choice)"),
            "{}",
            plan["yang"]
        );

        let again = check(json!({"fetch_yang": true, "use_modules": ["odd"]})).await.body;
        assert_eq!(
            (&again["schemas"], &again["left_out"]),
            (&json!(["odd@2026-01-01"]), &json!([])),
            "{again}"
        );
        worker.abort();
    });
}

#[test]
fn nobody_who_answers_is_told_in_time() {
    run_bare(async |scope| {
        let intake = scope.intake(Settings { device_timeout_ms: 200, ..Settings::default() }).await;
        let late = send(intake.post("/v1/devices/sim-eu-1/check", &json!({}))).await;
        late.is_problem(504, "no_answer");
        assert!(late.body["detail"].as_str().unwrap().contains("region eu"), "{}", late.body);
        let plan = send(intake.post("/v1/orders?dry_run=true&on_device=true", &eline())).await;
        assert_eq!(plan.status, 200, "the plan is there all the same: {}", plan.body);
        for device in plan.body["on_device"].as_array().unwrap() {
            assert_eq!((&device["ok"], &device["worker"]), (&json!(false), &Value::Null));
            assert_eq!(device["failures"][0]["class"], "unreachable");
        }
        intake.stop().await;
    });
}

#[test]
fn every_device_tries_its_part_of_a_plan() {
    run(async |scope, intake| {
        let worker = worker(scope, |ask| {
            assert_eq!(ask.question, Question::TryEdit);
            assert!(ask.device.edits[0].edit.contains("pseudowire"));
            let failures = match ask.device.device.as_str() {
                "sim-eu-1" => Vec::new(),
                _ => vec![Failure::new(FailureClass::Invalid, "validate", "mtu is too large")],
            };
            Answer { failures, ..answer() }
        })
        .await;
        let plan = send(intake.post("/v1/orders?dry_run=true&on_device=true", &given())).await;
        let tried = &plan.body["on_device"];
        assert_eq!(
            tried[0],
            json!({"device": "sim-eu-1", "ok": true, "worker": "w1", "failures": [], "notes": []}),
            "{}",
            plan.body
        );
        assert_eq!(
            (&tried[1]["ok"], &tried[1]["failures"][0]["message"]),
            (&json!(false), &json!("mtu is too large"))
        );
        let order = intake.order(&given()).await;
        let path = format!("/v1/orders/{}/plan?on_device=true", order["id"].as_str().unwrap());
        assert_eq!(intake.show(&path).await.body["on_device"][0]["ok"], true);
        // It locks candidates, so to read is not enough.
        let auditor = intake.request(reqwest::Method::GET, &path).bearer_auth(scope.token(Role::Auditor));
        send(auditor).await.is_problem(403, "forbidden");
        let service = deployed(scope, &order).await;
        let validate = json!({"kind": "validate", "service_id": service});
        let nothing = send(intake.post("/v1/orders?dry_run=true&on_device=true", &validate)).await;
        assert_eq!(nothing.body["on_device"], json!([]), "nothing to try");
        worker.abort();
    });
}

#[test]
fn the_last_audit_is_shown_with_what_to_do() {
    run(async |scope, intake| {
        let order = intake.order(&eline()).await;
        let service = deployed(scope, &order).await;
        let path = format!("/v1/services/{service}/audit");
        intake.show(&path).await.is_problem(404, "not_audited");
        let write = async |config: &str| {
            let id = order["id"].as_str().unwrap();
            scope
                .execute(&format!(
                    "DELETE FROM audits; INSERT INTO audits VALUES ('{service}', '{id}', now(), 'up', '{config}', 'x', '[]')"
                ))
                .await;
            intake.show(&path).await.body
        };
        assert_eq!(write("in_sync").await["proposed"], Value::Null);
        let drifted = write("drifted").await;
        assert_eq!(drifted["proposed"], json!({"kind": "redeploy", "service_id": service}));
        assert_eq!((&drifted["config"], &drifted["order"]), (&json!("drifted"), &order["id"]));
        let document = turnup_intake::openapi();
        let fields = document["components"]["schemas"]["Audit"]["properties"].as_object().unwrap();
        assert!(drifted.as_object().unwrap().keys().eq(fields.keys()), "{drifted}");
        intake
            .show("/v1/services/01890000-0000-7000-8000-000000000000/audit")
            .await
            .is_problem(404, "not_found");
    });
}

#[test]
fn exam_holds_the_device_and_says_what_follows_from_it() {
    run(async |scope, intake| {
        let worker = worker(scope, |ask| {
            let Question::Exam(exam) = &ask.question else { panic!("{ask:?}") };
            assert_eq!((exam.scratches[0].name.as_str(), exam.options.careful), ("sim", true));
            assert!(ask.device.epoch > 0 && ask.device.pending_tokens.is_empty(), "{:?}", ask.device);
            let finding = Finding { probe: Probe::LockRunning, answer: Found::No, remark: None };
            let report = ExamReport {
                scratch: Some("sim /interfaces/interface".to_owned()),
                findings: vec![finding],
                left: Vec::new(),
                is_clean: true,
                tokens_cancelled: true,
                running_compared: true,
                stopped: None,
                took_ms: 12,
            };
            Answer { exam: Some(Box::new(report)), ..answer() }
        })
        .await;
        let path = "/v1/devices/sim-eu-1/exam";
        let answer = send(intake.post(path, &json!({"careful": true}))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["differences"][0]["key"], "locks", "{}", answer.body);
        assert_eq!(answer.body["deviations"][0]["section"], "RFC 6241 §7.5");
        assert_eq!(answer.body["findings"][0]["question"], "Can running be locked?");
        assert!(
            answer.body["profile"].as_str().unwrap().contains("locks = \"candidate\""),
            "{}",
            answer.body
        );
        let document = turnup_intake::openapi();
        let fields = document["components"]["schemas"]["Exam"]["properties"].as_object().unwrap();
        assert!(answer.body.as_object().unwrap().keys().eq(fields.keys()), "{}", answer.body);
        assert_eq!(
            send(intake.post(path, &json!({"careful": true}))).await.status,
            200,
            "the lease was given back"
        );
        worker.abort();

        let refused = async |body: Value| send(intake.post(path, &body)).await;
        refused(json!({"time_s": 5})).await.has_fault("/time_s", "bad_value");
        refused(json!({"tim_s": 5})).await.has_fault("/tim_s", "unknown_field");
        refused(json!({"careful": true, "dangerous": true})).await.has_fault("/dangerous", "bad_value");
        refused(json!({"scratch": {"entry": "a/b"}})).await.has_fault("/scratch/create", "bad_value");
        send(intake.post("/v1/devices/nothing/exam", &json!({}))).await.is_problem(404, "not_found");
        // Region us has no queue here; its device is free again.
        for _ in 0..2 {
            send(intake.post("/v1/devices/sim-us-1/exam", &json!({}))).await.is_problem(504, "no_answer");
        }
    });
}
