//! Values of pools: picked, given, refused, looked at. The same on every way in.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use turnup_core::policy::Role;

use crate::support::{Intake, eline, given, run, send, with};

#[test]
fn left_out_they_are_picked_and_answered() {
    run(async |_, intake| {
        let order = intake.order(&eline()).await;
        assert_eq!(order["attributes"]["vc_id"], 100_000);
        assert_eq!(order["endpoints"][0]["attributes"]["vlan"], 2);
        assert_eq!(order["endpoints"][1]["attributes"]["vlan"], 2, "another port, another space");
        assert_eq!(
            order["resources"],
            json!([
                {"pool": "vc-id", "scope": "", "value": "100000"},
                {"pool": "vlan", "scope": "sim-eu-1/ge-0/0/1", "value": "2"},
                {"pool": "vlan", "scope": "sim-eu-2/ge-0/0/2", "value": "2"},
            ])
        );
        assert_eq!(intake.show(&format!("/v1/orders/{}", order["id"].as_str().unwrap())).await.body, order);
        let next = intake.order(&eline()).await;
        assert_eq!(next["attributes"]["vc_id"], 100_001);
    });
}

#[test]
fn what_another_has_is_refused_with_its_name() {
    run(async |_, intake| {
        let order = intake.order(&given()).await;
        for path in ["/v1/orders", "/v1/orders?dry_run=true"] {
            let refused = send(intake.post(path, &given())).await;
            refused.is_problem(409, "resource_taken");
            assert_eq!(refused.faults().len(), 3, "all at once");
            refused.has_fault("/attributes/vc_id", "resource_taken");
            refused.has_fault("/endpoints/1/attributes/vlan", "resource_taken");
            let text = refused.body.to_string();
            for part in [
                "vlan",
                "sim-eu-2/ge-0/0/2",
                order["service_id"].as_str().unwrap(),
                order["id"].as_str().unwrap(),
            ] {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
        let cancel = format!("/v1/orders/{}/cancel", order["id"].as_str().unwrap());
        assert_eq!(send(intake.post(&cancel, &json!({}))).await.status, 200);
        intake.order(&given()).await;
    });
}

#[test]
fn what_is_not_of_the_pool_is_refused() {
    run(async |_, intake| {
        let vpn = |target: &str| {
            let site = json!({"port": "ge-0/0/1", "address": "192.0.2.1/30"});
            json!({
                "kind": "provision", "definition": "l3vpn", "attributes": {"route_target": target},
                "endpoints": [{"role": "site", "device": "sim-eu-1", "attributes": site}],
            })
        };
        for wrong in ["65001:5", "65000:05", "65000:0"] {
            let refused = send(intake.post("/v1/orders", &vpn(wrong))).await;
            refused.has_fault("/attributes/route_target", "out_of_pool");
            assert!(refused.body["detail"].as_str().unwrap().contains("leave it out"), "{}", refused.body);
        }
        let order = intake.order(&vpn("65000:5")).await;
        assert_eq!(order["attributes"]["route_target"], "65000:5");
        assert_eq!(order["attributes"]["route_distinguisher"], "65000:1000");
    });
}

#[test]
fn a_pool_that_is_exhausted_says_who_has_it() {
    run(async |scope, intake| {
        let first = intake.order(&eline()).await;
        let (service, order) = (first["service_id"].as_str().unwrap(), first["id"].as_str().unwrap());
        scope
            .execute(&format!(
                "INSERT INTO resources (pool, scope, value, number, service_id, orders, since) \
                 SELECT 'vlan', 'sim-eu-1/ge-0/0/1', n::text, n, '{service}', '{{{order}}}', now() \
                 FROM generate_series(3, 4094) n"
            ))
            .await;
        for path in ["/v1/orders", "/v1/orders?dry_run=true"] {
            let refused = send(intake.post(path, &eline())).await;
            refused.is_problem(409, "pool_exhausted");
            refused.has_fault("/endpoints/0/attributes/vlan", "pool_exhausted");
            let detail = refused.body["detail"].as_str().unwrap();
            for part in ["vlan", "sim-eu-1/ge-0/0/1", "2", "4094", service] {
                assert!(detail.contains(part), "{part} in {detail}");
            }
        }
    });
}

#[test]
fn pools_are_shown_with_what_is_taken() {
    run(async |_, intake| {
        let order = intake.order(&eline()).await;
        let pools = intake.show("/v1/pools").await.body;
        let pool = |name: &str| -> Value {
            let items = pools["items"].as_array().unwrap();
            items.iter().find(|pool| pool["name"] == name).unwrap().clone()
        };
        assert_eq!((&pool("vlan")["taken"], &pool("vlan")["scope"]), (&json!(2), &json!("device")));
        assert_eq!(pool("route-target")["format"], "65000:{}");
        assert_eq!((&pool("vc-id")["from"], &pool("vc-id")["pick_from"]), (&json!(1), &json!(100_000)));

        let taken = async |query: &str| intake.show(&format!("/v1/pools/vlan{query}")).await.body;
        let all = taken("").await;
        assert_eq!(all["items"].as_array().unwrap().len(), 2);
        assert_eq!(all["items"][0]["service_id"], order["service_id"]);
        assert_eq!(all["items"][0]["orders"], json!([order["id"]]));
        let one = taken("?scope=sim-eu-2/ge-0/0/2").await;
        assert_eq!(one["items"].as_array().unwrap().len(), 1);
        let none = taken("?service_id=01890000-0000-7000-8000-000000000000").await;
        assert_eq!(none["items"], json!([]));
        let page = taken("?limit=1").await;
        let cursor = page["next_cursor"].as_str().unwrap();
        let cursor: String = cursor.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let rest = taken(&format!("?limit=1&cursor={cursor}")).await;
        assert_eq!(rest["items"][0], all["items"][1]);
        intake.show("/v1/pools/vlan?cursor=x").await.is_problem(400, "unreadable");
        intake.show("/v1/pools/vlans").await.is_problem(404, "not_found");
    });
}

/// All values of all accepted orders of a pool and scope.
fn values(orders: &[Value]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let resources = orders.iter().flat_map(|order| order["resources"].as_array().unwrap());
    resources.map(|key| (text(&key["pool"]), text(&key["scope"]), text(&key["value"]))).collect()
}

/// Orders of every sort at once: some leave values out, some give the same ones, one by one and in bulk.
async fn storm(intake: &Intake, token: &str, round: usize) -> Vec<Value> {
    let body = |n: usize| {
        let mut order = with(eline(), json!({"external_id": format!("{round}-{n}")}));
        if n.is_multiple_of(3) {
            order["attributes"]["vc_id"] = json!(100_000 + n % 5);
        }
        if n.is_multiple_of(4) {
            order["endpoints"][0]["attributes"]["vlan"] = json!(2 + n % 7);
        }
        order
    };
    let single = join_all((0..30).map(|n| send(intake.post("/v1/orders", &body(n)))));
    let lines: String = (30..60).map(|n| format!("{}\n", body(n))).collect();
    let bulk = intake
        .request(reqwest::Method::POST, "/v1/orders:bulk")
        .bearer_auth(token)
        .header("content-type", "application/x-ndjson")
        .body(lines)
        .send();
    let (single, bulk) = tokio::join!(single, bulk);
    let mut accepted: Vec<Value> = Vec::new();
    for answer in single {
        assert!([201, 409].contains(&answer.status), "{}", answer.body);
        accepted.extend((answer.status == 201).then_some(answer.body));
    }
    for line in bulk.unwrap().text().await.unwrap().lines() {
        let mut result: Value = serde_json::from_str(line).unwrap();
        assert!([201, 409].contains(&result["status"].as_u64().unwrap()), "{line}");
        if result["status"] == 201 {
            accepted.push(result["order"].take());
        }
    }
    accepted
}

#[test]
fn nothing_is_ever_given_twice() {
    run(async |scope, intake| {
        let mut accepted = Vec::new();
        for round in 0..3 {
            accepted.extend(storm(intake, scope.token(Role::Admin), round).await);
        }
        assert!(accepted.len() > 60, "most leave something out: {}", accepted.len());
        let all = values(&accepted);
        assert_eq!(all.len(), accepted.len() * 3);
        let different: BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "a value was given twice");
        assert_eq!(scope.count("resources").await, i64::try_from(all.len()).unwrap());
        for order in &accepted {
            assert!(all.contains(&(
                "vc-id".to_owned(),
                String::new(),
                order["attributes"]["vc_id"].to_string()
            )));
        }
    });
}
