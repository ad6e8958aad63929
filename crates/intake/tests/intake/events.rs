//! The event log as a list and as a stream.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Intake, PATIENCE, eline, run, send, with};

#[test]
fn events_are_listed_after_a_cursor() {
    run(async |scope, intake| {
        let order = intake.order(&with(eline(), json!({"schedule": "now", "external_id": "CRM-1"}))).await;
        scope.number_events().await;
        let subject = format!("orders/{}", order["id"].as_str().unwrap());
        let all = intake.show("/v1/events").await.body;
        assert_eq!(all["items"].as_array().unwrap().len(), 7, "five devices, two states of the order");
        let of_order = intake.show(&format!("/v1/events?subject={subject}")).await.body;
        let items = of_order["items"].as_array().unwrap();
        let kinds: Vec<&Value> = items.iter().map(|event| &event["type"]).collect();
        assert_eq!(kinds, ["dev.turnup.order.requested.v1", "dev.turnup.order.scheduled.v1"]);
        assert_eq!(items[0]["specversion"], "1.0");
        assert_eq!(items[0]["correlationid"], "CRM-1");
        assert_eq!(items[0]["subject"], subject);
        assert_eq!(items[1]["data"]["scheduled_for"], order["scheduled_for"]);

        let first = items[0]["cursor"].as_str().unwrap();
        let rest = intake.show(&format!("/v1/events?after={first}&type=dev.turnup.order.")).await.body;
        assert_eq!(rest["items"].as_array().unwrap().len(), 1);
        let next = rest["next_cursor"].as_str().unwrap();
        let none = intake.show(&format!("/v1/events?after={next}&limit=1")).await.body;
        assert_eq!(
            (&none["items"], &none["next_cursor"]),
            (&json!([]), &json!(next)),
            "a poller keeps its place"
        );
        intake.show("/v1/events?after=x").await.is_problem(400, "unreadable");
        intake.show("/v1/events?after=-1").await.is_problem(400, "unreadable");
        intake.show("/v1/events?after=99999").await.is_problem(409, "unknown_cursor");
        let ahead = intake
            .get("/v1/events")
            .header("accept", "text/event-stream")
            .header("last-event-id", "99999999");
        send(ahead).await.is_problem(409, "unknown_cursor");
        let kinds = async |query: &str| -> Vec<String> {
            let page = intake.show(&format!("/v1/events?{query}")).await.body;
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}")).clone();
            items.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
        };
        // The newest, the oldest of them first; the short form of a type; and since a time.
        let newest = ["dev.turnup.order.requested.v1", "dev.turnup.order.scheduled.v1"];
        assert_eq!(kinds("newest=true&limit=2").await, newest);
        assert_eq!(kinds("type=order&newest=true&limit=1").await, newest[1..]);
        assert_eq!(kinds(&format!("subject={subject}&newest=true&limit=1")).await, newest[1..]);
        assert_eq!(kinds("type=device.added").await.len(), 5);
        let created = order["created_at"].as_str().unwrap();
        assert_eq!(kinds(&format!("since={created}")).await, newest);
        assert_eq!(kinds("since=2020-01-01T00:00:00Z").await.len(), 7);
        assert_eq!(kinds("since=2100-01-01T00:00:00Z").await.len(), 0);
        let unknown = intake.show("/v1/events?type=order.complete%20d").await;
        unknown.is_problem(400, "unreadable");
        assert!(unknown.body["detail"].as_str().unwrap().contains("order.completed"), "{}", unknown.body);
        let resume =
            intake.get("/v1/events").header("accept", "text/event-stream").header("last-event-id", "x");
        send(resume).await.is_problem(400, "unreadable");
    });
}

/// A client of the stream.
struct Follower {
    parts: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Follower {
    async fn follow(intake: &Intake, query: &str, last: Option<&str>) -> Self {
        let mut request = intake.get(&format!("/v1/events{query}")).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut follower = Self { parts: Box::pin(answer.bytes_stream()), text: String::new() };
        // The greeting says that it is being followed.
        assert_eq!(follower.block().await, "retry: 2000");
        follower
    }

    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return block;
            }
            let part = timeout(PATIENCE, self.parts.next()).await.expect("a part in time").unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
    }

    /// The next event: its id and itself.
    async fn next(&mut self) -> (String, Value) {
        loop {
            let block = self.block().await;
            if block.starts_with(':') {
                continue;
            }
            let lines: Vec<&str> = block.lines().collect();
            let [id, kind, data] = lines.as_slice() else { panic!("{block}") };
            let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(kind.strip_prefix("event: ").unwrap(), event["type"]);
            return (id.strip_prefix("id: ").unwrap().to_owned(), event);
        }
    }
}

#[test]
fn a_stream_begins_now_and_resumes_where_it_ended() {
    run(async |scope, intake| {
        let path = |order: &Value| format!("orders/{}", order["id"].as_str().unwrap());
        intake.order(&eline()).await;
        scope.number_events().await;
        let mut now = Follower::follow(intake, "", None).await;
        let mut all = Follower::follow(intake, "?after=0&type=dev.turnup.order.", None).await;
        let order = intake.order(&with(eline(), json!({"schedule": "now"}))).await;
        scope.number_events().await;
        let (first, event) = now.next().await;
        assert_eq!(
            (&event["subject"], &event["type"]),
            (&json!(path(&order)), &json!("dev.turnup.order.requested.v1"))
        );
        assert_eq!(event["cursor"], first);
        drop(now);

        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(all.next().await.1["type"].as_str().unwrap().to_owned());
        }
        assert!(seen.iter().all(|kind| kind.starts_with("dev.turnup.order.")), "{seen:?}");

        // Whatever happened in between comes first.
        let missed = intake.order(&eline()).await;
        scope.number_events().await;
        let mut again = Follower::follow(intake, "", Some(&first)).await;
        assert_eq!(again.next().await.1["type"], "dev.turnup.order.scheduled.v1");
        assert_eq!(again.next().await.1["subject"], path(&missed));
    });
}

#[test]
fn a_long_log_is_read_without_gaps() {
    run(async |scope, intake| {
        let body: String = (0..350).map(|_| eline().to_string() + "\n").collect();
        let request = intake.post("/v1/orders:bulk", &Value::Null).header("content-type", "x").body(body);
        let (client, request) = request.build_split();
        let mut request = request.unwrap();
        request.headers_mut().insert("content-type", "application/x-ndjson".parse().unwrap());
        send(reqwest::RequestBuilder::from_parts(client, request)).await;
        scope.number_events().await;
        let mut follower = Follower::follow(intake, "?after=0&type=dev.turnup.order.requested", None).await;
        let mut cursors = Vec::new();
        for _ in 0..350 {
            cursors.push(follower.next().await.0.parse::<i64>().unwrap());
        }
        assert!(cursors.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(scope.count("events WHERE entity = 'order'").await, 350);
    });
}
