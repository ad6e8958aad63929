//! Who gets in: every route of the description, without token, with too little right; and all the
//! refusals that come before a handler.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use turnup_core::policy::{Permission, Role, allows};
use turnup_intake::Settings;
use turnup_store::NewToken;

use crate::support::{eline, run, run_bare, send};

/// (method, path with parameters filled in, right needed; none: open)
fn routes() -> Vec<(Method, String, Option<Permission>)> {
    let document = turnup_intake::openapi();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let permission = operation
                .get("x-turnup-permission")
                .map(|word| serde_json::from_value::<Permission>(word.clone()).unwrap());
            assert_eq!(permission.is_none(), operation.get("security") == Some(&json!([])), "{path}");
            let path = path.replace("{id}", "01890000-0000-7000-8000-000000000000").replace("{name}", "x");
            routes.push((method.to_uppercase().parse().unwrap(), path, permission));
        }
    }
    routes
}

#[test]
fn every_route_refuses_the_unknown_and_the_unentitled() {
    run(async |scope, intake| {
        let routes = routes();
        assert!(routes.len() > 20);
        for (method, path, permission) in &routes {
            let unknown = send(intake.request(method.clone(), path)).await;
            let Some(permission) = permission else {
                assert_eq!(unknown.status, 200, "{method} {path} is open");
                continue;
            };
            unknown.is_problem(401, "unauthenticated");
            assert_eq!(unknown.header("www-authenticate"), "Bearer");
            for role in Role::ALL {
                let answer = send(intake.request(method.clone(), path).bearer_auth(scope.token(*role))).await;
                if allows(*role, *permission) {
                    assert!(
                        answer.status != 401 && answer.status != 403,
                        "{method} {path} {role}: {}",
                        answer.status
                    );
                } else {
                    answer.is_problem(403, "forbidden");
                }
            }
        }
        let refused_somewhere = |role: Role| routes.iter().flat_map(|(_, _, p)| p).any(|p| !allows(role, *p));
        assert!(refused_somewhere(Role::Auditor) && refused_somewhere(Role::Provisioner));
    });
}

#[test]
fn strangers_do_not_learn_what_exists() {
    run(async |_, intake| {
        for (method, path) in [(Method::GET, "/v1/nothing"), (Method::GET, "/"), (Method::PUT, "/v1/orders")]
        {
            send(intake.request(method, path)).await.is_problem(401, "unauthenticated");
        }
        intake.show("/v1/nothing").await.is_problem(404, "not_found");
        let wrong = send(intake.post("/v1/orders?x=y", &json!({}))).await;
        wrong.is_problem(400, "unreadable");
        let put = send(intake.request(Method::PUT, "/v1/orders").bearer_auth("tu_0")).await;
        put.is_problem(401, "unauthenticated");
        let put = send(intake.get("/v1/orders").method(Method::PUT)).await;
        put.is_problem(405, "method_not_allowed");
        assert_eq!(put.header("allow"), "POST, GET, HEAD");
        // Open routes have no other methods either.
        send(intake.request(Method::POST, "/healthz")).await.is_problem(401, "unauthenticated");
    });
}

trait WithMethod {
    fn method(self, method: Method) -> Self;
}

impl WithMethod for reqwest::RequestBuilder {
    fn method(self, method: Method) -> Self {
        let (client, request) = self.build_split();
        let mut request = request.unwrap();
        *request.method_mut() = method;
        Self::from_parts(client, request)
    }
}

#[test]
fn bad_tokens_all_look_the_same_and_a_revoked_one_is_out() {
    run_bare(async |scope| {
        let intake = scope.intake(Settings { token_cache_ms: 50, ..Settings::default() }).await;
        let make = async |name: &str, expires_at| {
            let token = NewToken { name: name.to_owned(), roles: vec![Role::Auditor], expires_at };
            scope.store.create_token(&token, Timestamp::now()).await.unwrap().unwrap()
        };
        let short = make("short", Some(Timestamp::now() - SignedDuration::from_secs(1))).await;
        let revoked = make("revoked", None).await;
        let get = |secret: &str| send(intake.request(Method::GET, "/v1/orders").bearer_auth(secret));
        assert_eq!(get(&revoked).await.status, 200);
        assert!(scope.store.revoke_token("revoked", Timestamp::now()).await.unwrap());
        crate::support::wait("the revoked token to be out", async || get(&revoked).await.status == 401).await;
        let mut bodies: Vec<Value> = Vec::new();
        for secret in [short.as_str(), revoked.as_str(), "tu_00", "nonsense", ""] {
            let answer = get(secret).await;
            answer.is_problem(401, "unauthenticated");
            bodies.push(answer.body);
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
        intake.stop().await;
    });
}

#[test]
fn bodies_that_cannot_be_read_are_refused_by_kind() {
    run(async |scope, intake| {
        let post = |body: Vec<u8>, content_type: &str| {
            intake
                .request(Method::POST, "/v1/orders")
                .bearer_auth(scope.token(Role::Provisioner))
                .header("content-type", content_type)
                .body(body)
        };
        let json = "application/json";
        let good = eline().to_string().into_bytes();
        send(post(good.clone(), "text/plain")).await.is_problem(415, "unsupported_media_type");
        assert_eq!(send(post(good.clone(), "Application/JSON; charset=utf-8")).await.status, 201);
        for bad in [&b""[..], b"{", b"{} {}", b"\xff", br#"{"kind":"provision","kind":"decommission"}"#] {
            send(post(bad.to_vec(), json)).await.is_problem(400, "unreadable");
        }
        send(post(b"[]".to_vec(), json)).await.is_problem(422, "invalid");
        send(post(vec![b' '; (1 << 20) + 1], json)).await.is_problem(413, "too_large");
        // Without a length that could be looked at beforehand.
        let parts = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
        let parts = futures_util::StreamExt::take(parts, 17);
        let streamed = post(Vec::new(), json).body(reqwest::Body::wrap_stream(parts));
        send(streamed).await.is_problem(413, "too_large");
        let almost = [good, vec![b' '; 1000]].concat();
        assert_eq!(send(post(almost, json)).await.status, 201);
    });
}

#[test]
fn a_slow_body_does_not_hold_a_place_for_long() {
    run_bare(async |scope| {
        let intake = scope.intake(Settings { read_timeout_ms: 200, ..Settings::default() }).await;
        let parts = futures_util::stream::once(async { Ok::<_, std::io::Error>(b"{".to_vec()) });
        let parts = futures_util::StreamExt::chain(parts, futures_util::stream::pending());
        let body = reqwest::Body::wrap_stream(parts);
        let slow = intake
            .request(Method::POST, "/v1/orders")
            .bearer_auth(scope.token(Role::Provisioner))
            .header("content-type", "application/json")
            .body(body);
        send(slow).await.is_problem(408, "too_slow");
        intake.stop().await;
    });
}

#[test]
fn more_requests_than_places_are_refused() {
    run_bare(async |scope| {
        let intake = scope.intake(Settings { max_requests: 1, max_streams: 1, ..Settings::default() }).await;
        let hold = || {
            let first = futures_util::stream::once(async { Ok::<_, std::io::Error>(b"{".to_vec()) });
            let body = futures_util::StreamExt::chain(first, futures_util::stream::pending());
            let request = intake
                .request(Method::POST, "/v1/orders")
                .bearer_auth(scope.token(Role::Provisioner))
                .header("content-type", "application/json")
                .body(reqwest::Body::wrap_stream(body));
            tokio::spawn(request.send())
        };
        let mut held = hold();
        let until = tokio::time::Instant::now() + crate::support::PATIENCE;
        while intake.show("/v1/orders").await.status != 503 {
            assert!(tokio::time::Instant::now() < until, "the place is taken");
            // It may have come while the other one was there, and have been refused itself.
            if held.is_finished() {
                held = hold();
            }
        }
        let refused = intake.show("/v1/orders").await;
        refused.is_problem(503, "unavailable");
        assert_eq!(refused.header("retry-after"), "2");
        assert_eq!(intake.show("/healthz").await.status, 200, "open routes need no place");
        held.abort();
        crate::support::wait("the place to be free", async || intake.show("/v1/orders").await.status == 200)
            .await;
        let follow = || intake.get("/v1/events").header("accept", "text/event-stream");
        let followed = follow().send().await.unwrap();
        assert_eq!(followed.status(), 200);
        send(follow()).await.is_problem(503, "unavailable");
        assert_eq!(
            intake.show("/v1/orders").await.status,
            200,
            "streams and requests have places of their own"
        );
        drop(followed);
        crate::support::wait("the stream's place to be free", async || {
            follow().send().await.unwrap().status() == 200
        })
        .await;
        intake.stop().await;
    });
}

#[test]
fn the_description_and_the_figures_are_served() {
    run(async |_, intake| {
        let answer = intake.show("/openapi.json").await;
        let mut wanted = turnup_intake::openapi();
        for schema in ["DeviceRequest", "DevicePatch"] {
            let fields = |document: &Value| document["components"]["schemas"][schema]["properties"].clone();
            let served = fields(&answer.body);
            assert_eq!(served["region"]["enum"], json!(["eu", "us"]));
            let platforms = served["platform"]["enum"].as_array().unwrap();
            assert!(platforms.contains(&json!("sim")) && platforms.contains(&json!("junos")), "{served}");
            for field in ["region", "platform"] {
                wanted["components"]["schemas"][schema]["properties"][field]["enum"] =
                    served[field]["enum"].clone();
            }
        }
        assert_eq!(answer.body, wanted);
        intake.show("/metrics").await.is_problem(404, "not_found");
        let ready = intake.show("/readyz").await;
        assert_eq!((ready.status, ready.body["status"].as_str()), (200, Some("ok")));
        let head = send(intake.get("/v1/orders").method(Method::HEAD)).await;
        assert_eq!((head.status, head.body), (200, Value::Null));
    });
}
