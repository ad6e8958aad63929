//! Many orders in one request.

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use turnup_core::policy::Role;
use turnup_intake::Settings;

use crate::support::{Intake, PATIENCE, Scope, eline, run, run_bare, send, with};

fn request(scope: &Scope, intake: &Intake) -> reqwest::RequestBuilder {
    intake
        .request(Method::POST, "/v1/orders:bulk")
        .bearer_auth(scope.token(Role::Provisioner))
        .header("content-type", "application/x-ndjson")
}

async fn bulk(request: reqwest::RequestBuilder, body: impl Into<reqwest::Body>) -> Vec<Value> {
    let answer = timeout(PATIENCE, request.body(body).send()).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let text = timeout(PATIENCE * 2, answer.text()).await.unwrap().unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_thousand_lines_with_some_bad_ones() {
    run(async |scope, intake| {
        let line = |n: u64| match n {
            n if n % 100 == 7 => "{\"kind\":".to_owned(),
            n if n % 100 == 8 => json!({"kind": "provision", "definition": "elin"}).to_string(),
            n if n % 100 == 9 => String::new(),
            500 => "x".repeat((1 << 20) + 1),
            n => with(eline(), json!({"external_id": format!("B-{n}"), "schedule": "now"})).to_string(),
        };
        let body: String = (1..=1000).map(|n| line(n) + "\n").collect();
        let results = bulk(request(scope, intake), body.clone()).await;
        assert_eq!(results.len(), 990, "blank lines have no result");
        let lines: Vec<u64> = results.iter().map(|result| result["line"].as_u64().unwrap()).collect();
        assert!(lines.is_sorted(), "in the order of the lines");
        for result in &results {
            let n = result["line"].as_u64().unwrap();
            let (status, code) = match n {
                n if n % 100 == 7 => (400, json!("unreadable")),
                n if n % 100 == 8 => (422, json!("invalid")),
                500 => (413, json!("too_large")),
                _ => (201, Value::Null),
            };
            assert_eq!((&result["status"], &result["problem"]["code"]), (&json!(status), &code), "{result}");
            if status == 201 {
                assert_eq!(result["order"]["external_id"], format!("B-{n}"));
                assert_eq!(result["order"]["state"], "scheduled");
            }
        }
        assert_eq!(scope.count("orders").await, 969);
        assert_eq!(scope.count("outbox").await, 969);
        // Each order in a transaction of its own would be far more.
        let transactions = scope.count("(SELECT DISTINCT xmin::text FROM orders) AS t").await;
        assert!(transactions < 200, "{transactions} transactions");

        let again = bulk(request(scope, intake), body).await;
        assert!(again.iter().all(|result| result["status"] != 201));
        assert_eq!(again.iter().filter(|result| result["status"] == 200).count(), 969);
        assert_eq!(scope.count("orders").await, 969);
    });
}

#[test]
fn results_come_while_lines_are_still_sent() {
    run(async |scope, intake| {
        let (lines, input) = mpsc::unbounded_channel::<Result<String, std::io::Error>>();
        let input =
            futures_util::stream::unfold(input, |mut input| async { Some((input.recv().await?, input)) });
        let request = request(scope, intake).body(reqwest::Body::wrap_stream(input));
        lines.send(Ok(eline().to_string() + "\n")).unwrap();
        let answer = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        let mut parts = answer.bytes_stream();
        for n in 1..=3 {
            let part = timeout(PATIENCE, parts.next()).await.expect("a result in time").unwrap().unwrap();
            let result: Value = serde_json::from_slice(&part).unwrap();
            assert_eq!((&result["line"], &result["status"]), (&json!(n), &json!(201)));
            lines.send(Ok(eline().to_string() + "\n")).unwrap();
        }
        drop(lines);
        let last = timeout(PATIENCE, parts.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&last).unwrap()["line"], 4);
        assert!(timeout(PATIENCE, parts.next()).await.unwrap().is_none());
    });
}

#[test]
fn a_key_makes_the_whole_request_repeatable() {
    run(async |scope, intake| {
        let body = format!("{}\n{}", eline(), eline());
        let keyed = || request(scope, intake).header("Idempotency-Key", "upload-1");
        let first = bulk(keyed(), body.clone()).await;
        assert!(first.iter().all(|result| result["status"] == 201));
        let second = bulk(keyed(), body).await;
        assert!(second.iter().all(|result| result["status"] == 200));
        assert_eq!(first[0]["order"]["id"], second[0]["order"]["id"]);
        assert_eq!(scope.count("orders").await, 2);
        let long = request(scope, intake).header("Idempotency-Key", "k".repeat(120)).body("");
        send(long).await.has_fault("", "bad_key");
        send(intake.post("/v1/orders:bulk", &eline())).await.is_problem(415, "unsupported_media_type");
    });
}

#[test]
fn a_line_that_never_ends_and_a_client_that_never_sends() {
    run_bare(async |scope| {
        let intake = scope.intake(Settings { read_timeout_ms: 300, ..Settings::default() }).await;
        let parts =
            futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 256 << 10])).take(64);
        let endless = parts.chain(futures_util::stream::pending());
        let results = bulk(request(scope, &intake), reqwest::Body::wrap_stream(endless)).await;
        let statuses: Vec<(u64, u64)> = results
            .iter()
            .map(|result| (result["line"].as_u64().unwrap(), result["status"].as_u64().unwrap()))
            .collect();
        assert_eq!(statuses, [(1, 413), (2, 408)]);
        intake.stop().await;
    });
}

#[test]
fn an_intake_that_shuts_down_says_from_which_line_to_go_on() {
    run_bare(async |scope| {
        let intake = scope.intake(Settings::default()).await;
        let first = futures_util::stream::once(async { Ok::<_, std::io::Error>(eline().to_string() + "\n") });
        let body = reqwest::Body::wrap_stream(first.chain(futures_util::stream::pending()));
        let answer = timeout(PATIENCE, request(scope, &intake).body(body).send()).await.unwrap().unwrap();
        let mut parts = answer.bytes_stream();
        let part = timeout(PATIENCE, parts.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&part).unwrap()["status"], 201);
        intake.stop().await;
        let last = timeout(PATIENCE, parts.next()).await.unwrap().unwrap().unwrap();
        let last: Value = serde_json::from_slice(&last).unwrap();
        assert_eq!((&last["line"], &last["status"]), (&json!(2), &json!(503)));
    });
}

#[test]
fn an_order_that_the_database_refuses_does_not_sink_its_batch() {
    run(async |scope, intake| {
        scope.execute("ALTER TABLE order_requests ADD CHECK (external_id <> 'B-33')").await;
        let line = |n| with(eline(), json!({"external_id": format!("B-{n}")})).to_string() + "\n";
        let body: String = (1..=100).map(line).collect();
        let results = bulk(request(scope, intake), body).await;
        for result in &results {
            let status = if result["line"] == 33 { 500 } else { 201 };
            assert_eq!(result["status"], status, "{result}");
        }
        assert!(!results[32].to_string().contains("order_requests"), "what the database said is not told");
        assert_eq!(scope.count("orders").await, 99);
    });
}
