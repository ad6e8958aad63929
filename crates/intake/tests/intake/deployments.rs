//! How deployments went, what was said to devices, and why orders are where they are.

use serde_json::{Value, json};

use crate::support::{Scope, eline, run, send, with};

const DEPLOYMENT: &str = "01890000-0000-7000-8000-0000000000d1";
const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// Puts the order in progress, its deployment in doubt on the second device.
async fn in_doubt(scope: &Scope, order: &Value) {
    let id = order["id"].as_str().unwrap();
    let devices = json!([
        {"device": "sim-eu-1", "in_force": "new", "steps": []},
        {"device": "sim-eu-2", "in_force": "unknown", "steps": []},
    ]);
    scope
        .execute(&format!(
            "UPDATE orders SET state = 'in_progress', generation = 1, sequence = 3 WHERE id = '{id}';
             INSERT INTO events (event_id, entity, entity_id, sequence, what, at, region, definition, from_state,
                                 to_state, actor, data)
             VALUES (gen_random_uuid(), 'order', '{id}', 3, 'in_progress', '2026-01-02 03:04:05Z', 'eu', 'eline',
                     'scheduled', 'in_progress', 'scheduler', '{{}}');
             INSERT INTO deployments (id, region, priority, generation, created_at, attempt, sequence, state, phase,
                                      worker, devices, in_doubt_since, updated_at)
             VALUES ('{DEPLOYMENT}', 'eu', 'normal', 1, now(), 2, 4, 'in_doubt', 'commit', 'w1', '{devices}',
                     now() - interval '30 s', now());
             INSERT INTO deployment_orders VALUES ('{DEPLOYMENT}', '{id}');"
        ))
        .await;
}

#[test]
fn a_deployment_is_shown_with_what_was_said_in_it() {
    run(async |scope, intake| {
        let order = intake.order(&with(eline(), json!({"schedule": "now"}))).await;
        in_doubt(scope, &order).await;
        let path = format!("/v1/deployments/{DEPLOYMENT}");
        let shown = intake.show(&path).await;
        assert_eq!((shown.status, &shown.body["orders"]), (200, &json!([order["id"]])), "{}", shown.body);
        assert_eq!((&shown.body["state"], &shown.body["attempt"]), (&json!("in_doubt"), &json!(2)));
        assert_eq!(shown.body["devices"][1]["in_force"], "unknown");

        let transcript = format!("{path}/transcript");
        let none = intake.show(&transcript).await;
        assert_eq!(
            (none.status, &none.body),
            (200, &json!({"deployment": DEPLOYMENT, "state": "in_doubt", "items": []}))
        );
        let exchanges = json!([{"step": "commit", "at": "2026-01-02T03:04:05Z", "took_us": 7,
                                "rpcs": [{"request": "<commit/>"}], "note": "no answer"}]);
        for device in ["sim-eu-1", "sim-eu-2"] {
            scope
                .execute(&format!(
                    "INSERT INTO transcripts VALUES
                     ('{DEPLOYMENT}', 2, '{device}', 'w1', '2026-01-02 03:04:05Z', 0, '{exchanges}')"
                ))
                .await;
        }
        let all = intake.show(&transcript).await.body;
        assert_eq!(all["items"].as_array().unwrap().len(), 2);
        let one = intake.show(&format!("{transcript}?device=sim-eu-2")).await.body;
        assert_eq!(
            one["items"],
            json!([{"attempt": 2, "device": "sim-eu-2", "worker": "w1", "at": "2026-01-02T03:04:05.000Z",
                    "left_out": 0, "exchanges": exchanges}])
        );
        for path in [format!("/v1/deployments/{NOBODY}"), format!("/v1/deployments/{NOBODY}/transcript")] {
            intake.show(&path).await.is_problem(404, "not_found");
        }
        intake.show("/v1/deployments/x").await.is_problem(404, "not_found");
        send(intake.get(&format!("{transcript}?device=%20"))).await.is_problem(400, "unreadable");
    });
}

#[test]
fn an_order_says_why_it_is_where_it_is() {
    run(async |scope, intake| {
        let explain = async |order: &Value| {
            let path = format!("/v1/orders/{}/explain", order["id"].as_str().unwrap());
            let answer = intake.show(&path).await;
            assert_eq!((answer.status, &answer.body["order"]), (200, &order["id"]), "{}", answer.body);
            answer.body
        };
        let requested = intake.order(&eline()).await;
        let said = explain(&requested).await;
        assert_eq!((&said["state"], &said["since"]), (&json!("requested"), &requested["created_at"]));
        assert_eq!(said["actions"], json!(["schedule", "cancel"]));
        assert!(said["explanation"].as_str().unwrap().contains("it has no time to start at"), "{said}");

        let first = intake.order(&with(eline(), json!({"schedule": "now"}))).await;
        in_doubt(scope, &first).await;
        let said = explain(&first).await;
        let text = said["explanation"].as_str().unwrap();
        assert!(text.contains("a commit was sent to sim-eu-2") && text.contains("attempt 2"), "{text}");
        assert_eq!(said["since"], "2026-01-02T03:04:05.000Z");

        let second = intake.order(&with(eline(), json!({"schedule": "now"}))).await;
        let (first, id) = (first["id"].as_str().unwrap(), second["id"].as_str().unwrap());
        scope
            .execute(&format!(
                "UPDATE leases SET order_id = '{first}', since = now() WHERE device = 'sim-eu-1';
                 INSERT INTO lease_waits VALUES ('sim-eu-1', 7, '{id}');"
            ))
            .await;
        let text = explain(&second).await["explanation"].to_string();
        assert!(text.contains(&format!("waits for sim-eu-1, which order {first} holds since")), "{text}");
        intake.show(&format!("/v1/orders/{NOBODY}/explain")).await.is_problem(404, "not_found");
    });
}

/// Parts in eu and us: one that has answered, and one that the order waits for.
#[test]
fn an_order_over_two_regions_is_explained_by_the_one_that_is_waited_for() {
    run(async |scope, intake| {
        let mut body = with(eline(), json!({"schedule": "now"}));
        body["endpoints"][1]["device"] = json!("sim-us-1");
        let order = intake.order(&body).await;
        let id = order["id"].as_str().unwrap();
        let devices = |name: &str| json!([{"device": name, "in_force": "new", "steps": []}]);
        scope
            .execute(&format!(
                "UPDATE orders SET state = 'in_progress', generation = 1, sequence = 3 WHERE id = '{id}';
                 INSERT INTO deployments (id, region, priority, generation, created_at, attempt, state, worker, devices,
                                          updated_at, transaction_id, stage, first_attempt, confirm_by)
                 VALUES ('{DEPLOYMENT}', 'eu', 'normal', 1, now() - interval '5 min', 1, 'prepared', 'w1', '{}', now(),
                         '{DEPLOYMENT}', 'prepare', 1, '2026-01-02 03:04:05Z'),
                        ('{NOBODY}', 'us', 'normal', 1, now() - interval '5 min', 1, 'pending', NULL, '[]', now(),
                         '{DEPLOYMENT}', 'prepare', 1, NULL);
                 INSERT INTO deployment_orders VALUES ('{DEPLOYMENT}', '{id}'), ('{NOBODY}', '{id}');",
                devices("sim-eu-1")
            ))
            .await;
        let explain = async || {
            let said = intake.show(&format!("/v1/orders/{id}/explain")).await.body;
            said["explanation"].as_str().unwrap().to_owned()
        };
        let text = explain().await;
        assert!(text.contains("the workers of us 5 min ago, and none has reported yet"), "{text}");
        let shown = intake.show(&format!("/v1/orders/{id}")).await.body;
        let parts = shown["deployments"].as_array().unwrap();
        let of = |region: &str| parts.iter().find(|part| part["region"] == region).unwrap();
        assert!(parts.iter().all(|part| part["transaction_id"] == DEPLOYMENT && part["stage"] == "prepare"));
        assert_eq!(of("eu")["confirm_by"], "2026-01-02T03:04:05.000Z");
        assert_eq!((&of("us")["confirm_by"], &of("us")["reasons"]), (&Value::Null, &json!([])));

        let reasons = json!([{"class": "busy", "phase": "lock", "message": "held", "device": "sim-us-1"}]);
        scope
            .execute(&format!(
                "UPDATE deployments SET state = 'rolled_back', worker = 'w2' WHERE id = '{NOBODY}';
                 UPDATE deployments SET stage = 'undo', state = 'pending', reasons = '{reasons}', updated_at = now()
                 WHERE id = '{DEPLOYMENT}'"
            ))
            .await;
        let text = explain().await;
        assert!(text.contains("to be undone in all regions as sim-us-1 was busy (lock: held)"), "{text}");
        assert!(
            text.contains("sent to the workers of eu") && text.contains("the first report is due"),
            "{text}"
        );

        // Of the ended ones all devices are told, and none of the workers.
        scope
            .execute(&format!(
                "UPDATE deployments SET state = 'committed', devices = '{}' WHERE id = '{NOBODY}';
                 UPDATE deployments SET state = 'committed' WHERE id = '{DEPLOYMENT}';
                 UPDATE orders SET state = 'completed' WHERE id = '{id}'",
                devices("sim-us-1")
            ))
            .await;
        let text = explain().await;
        assert!(text.ends_with("it is in force on sim-eu-1 and sim-us-1."), "{text}");
    });
}
