//! What planning reads does not grow with what the devices hold and have seen.

use serde_json::Value;
use tokio_postgres::Client;
use turnup_store::testing::Database;

/// The most orders that a statement looks at for the sake of one device is 50: both have seen more.
const DEVICES: [(&str, i32); 2] = [("few", 60), ("many", 20_000)];
/// Blocks that the busier device may cost more: rows lie on other pages, and on one page more.
const SLACK: u64 = 8;

/// Statements of a plan: file, parameters; `{device}` and `{service}` are those of one service.
const STATEMENTS: [(&str, &str); 10] = [
    ("unfinished_on", "ARRAY['{device}'], 100"),
    ("unfinished_of", "{service}"),
    ("busy_orders", "ARRAY[{service}]"),
    ("service", "{service}"),
    ("footprints", "{service}"),
    ("start_footprints", "ARRAY[{service}]"),
    ("start_footprint_devices", "ARRAY[{service}], ARRAY[{service}]"),
    ("owners", "ARRAY['{device}'], ARRAY['/port/unit-7'], ARRAY['{device}'], ARRAY['/port']"),
    ("holders", "ARRAY['{device}'], ARRAY['/policy'], ARRAY['{device}'], ARRAY['/port/unit-7']"),
    ("resource_held", "ARRAY['vlan'], ARRAY['{device}'], ARRAY['7'], ARRAY[7]"),
];

/// Services and completed orders, one of each per number, with all that they hold on the device. Ids rise
/// with time, as those of turnup do.
async fn fill(session: &Client, device: &str, count: i32) {
    let sql = "
        CREATE TEMP TABLE made AS
            SELECT n, '{device}' AS device, (lpad(to_hex(n), 8, '0') || right(md5('{device}' || n), 24))::uuid AS id
            FROM generate_series(1, {count}) AS n;
        INSERT INTO orders (id, kind, service_id, state, generation, sequence, updated_at)
            SELECT id, 'provision', id, 'completed', 1, 4, now() FROM made;
        INSERT INTO order_requests (id, definition, definition_version, service_id, region, attributes, endpoints,
                                    devices, priority, requester, digest, created_at)
            SELECT id, 'eline', 1, id, 'eu', '{}', '[]', ARRAY[device], 'normal', 'crm', sha256(''), now() FROM made;
        INSERT INTO order_devices SELECT device, id FROM made;
        INSERT INTO services (id, definition, definition_version, region, attributes, endpoints, devices, requester,
                              created_at, state, last_order, sequence, updated_at)
            SELECT id, 'eline', 1, 'eu', '{}', '[]', ARRAY[device], 'crm', now(), 'deployed', id, 1, now() FROM made;
        INSERT INTO footprints (service_id, device, footprint) SELECT id, device, '{}' FROM made;
        INSERT INTO owned_nodes SELECT device, '/port/unit-' || n, id FROM made;
        INSERT INTO shared_nodes SELECT device, '/policy', id, 'gold' FROM made;
        INSERT INTO resources (pool, scope, value, number, service_id, orders, since)
            SELECT 'vlan', device, n::text, n, id, ARRAY[id], now() FROM made;
        DROP TABLE made";
    let sql = sql.replace("{device}", device).replace("{count}", &count.to_string());
    session.batch_execute(&sql).await.unwrap();
}

/// Blocks that the statement reads.
async fn blocks(session: &Client, file: &str, parameters: &str, device: &str) -> u64 {
    let path = format!("{}/queries/{file}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = std::fs::read_to_string(path).unwrap();
    let service =
        format!("(SELECT service_id FROM owned_nodes WHERE device = '{device}' AND node = '/port/unit-7')");
    let service: uuid::Uuid = session.query_one(&service, &[]).await.unwrap().get(0);
    let parameters =
        parameters.replace("{device}", device).replace("{service}", &format!("'{service}'::uuid"));
    session.batch_execute(&format!("PREPARE asked AS {sql}")).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked ({parameters})");
    let explained: Value = session.query_one(&explain, &[]).await.unwrap().get(0);
    session.batch_execute("DEALLOCATE asked").await.unwrap();
    let plan = &explained[0]["Plan"];
    plan["Shared Hit Blocks"].as_u64().unwrap() + plan["Shared Read Blocks"].as_u64().unwrap()
}

#[tokio::test]
async fn a_plan_costs_the_same_on_a_busy_device() {
    let database = Database::new().await;
    let session = database.session_of_store().await.unwrap();
    for (device, count) in DEVICES {
        fill(&session, device, count).await;
    }
    // Freshly filled, and known to the planner.
    for analyse in ["", "ANALYZE"] {
        session.batch_execute(analyse).await.unwrap();
        for (file, parameters) in STATEMENTS {
            let few = blocks(&session, file, parameters, "few").await;
            let many = blocks(&session, file, parameters, "many").await;
            assert!(few > 0, "{file} reads something");
            assert!(many <= few + SLACK, "{file} ({analyse}): {few} blocks, on the busy device {many}");
        }
    }
}
