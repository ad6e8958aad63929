//! Migrations, statements, and the words that code and database share.

use std::{collections::BTreeSet, fs, path::Path};

use turnup_core::{
    audit::ConfigAudit,
    event::Entity,
    lifecycle::{AuditState, DeploymentState, OrderState, ServiceState, legal_order_changes},
    message::{InForce, Stage},
    order::{OrderKind, Priority},
};
use turnup_store::{
    Device, DeviceChange, SCHEMA_VERSION, Settings, Store, StoreError, create_database, testing::Database,
};

use crate::support::{accept, add, device, history, in_s, order};

/// The quoted words of a constraint's definition.
fn quoted(definition: &str) -> Vec<String> {
    definition.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

async fn constraint(database: &Database, table: &str, column: &str) -> BTreeSet<String> {
    let session = database.session().await.unwrap();
    let rows = session
        .query(
            "SELECT pg_get_constraintdef(c.oid) FROM pg_constraint AS c
             JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
             WHERE c.conrelid = to_regclass($1) AND c.contype = 'c' AND a.attname = $2 AND cardinality(c.conkey) = 1",
            &[&table, &column],
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "one list of words for {table}.{column}");
    quoted(rows[0].get(0)).into_iter().collect()
}

#[tokio::test]
async fn every_statement_is_good_and_used() {
    let database = Database::new().await;
    let session = database.session().await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = fs::read_dir(root.join("src"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let mut seen = 0;
    for entry in fs::read_dir(root.join("queries")).unwrap() {
        let path = entry.unwrap().path();
        let sql = fs::read_to_string(&path).unwrap();
        if let Err(error) = session.prepare(&sql).await {
            panic!("{}: {error:?}", path.display());
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            sources.contains(&format!("\"{name}\"")) || sources.contains(&format!("/{name}.sql\"")),
            "{name} is used nowhere"
        );
        // A migration that adds a column must not break the statements of roles that still run.
        assert!(
            !sql.contains("SELECT * FROM orders") && !sql.contains("orders.*"),
            "{name} names its columns"
        );
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[tokio::test]
async fn the_database_has_exactly_the_cores_transitions() {
    let database = Database::new().await;
    let session = database.session().await.unwrap();
    let row = session
        .query_one("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'events_lawful' AND conrelid = 'events'::regclass", &[])
        .await
        .unwrap();
    let words = quoted(row.get(0));
    let found: BTreeSet<(&str, &str)> =
        words.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let wanted: BTreeSet<(&str, &str)> = legal_order_changes()
        .into_iter()
        .map(|(from, to)| (from.map_or("-", OrderState::word), to.word()))
        .collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn the_database_refuses_what_the_life_cycle_lacks() {
    let database = Database::new().await;
    let session = database.session().await.unwrap();
    let states = OrderState::ALL.iter().map(|state| Some(state.word())).chain([Some("-"), None]);
    let legal: Vec<_> = legal_order_changes()
        .into_iter()
        .map(|(from, to)| (Some(from.map_or("-", OrderState::word)), Some(to.word())))
        .chain([(None, None)])
        .collect();
    let mut sequence = 0;
    for from in states.clone() {
        for to in states.clone() {
            sequence += 1;
            let written = session
                .execute(
                    "INSERT INTO events (event_id, entity, entity_id, sequence, what, at, region, definition,
                                         from_state, to_state, actor, data)
                     VALUES (gen_random_uuid(), 'order', 'x', $3, 'x', now(), 'eu', 'x', $1, $2, 'x', '{}')",
                    &[&from, &to, &sequence],
                )
                .await;
            assert_eq!(written.is_ok(), legal.contains(&(from, to)), "{from:?} → {to:?}");
        }
    }
}

#[tokio::test]
async fn the_database_has_exactly_the_cores_words() {
    let database = Database::new().await;
    macro_rules! same {
        ($table:literal, $column:literal, $words:ty) => {
            let wanted: BTreeSet<String> = <$words>::ALL.iter().map(|word| word.to_string()).collect();
            assert_eq!(constraint(&database, $table, $column).await, wanted, "{}.{}", $table, $column);
        };
    }
    same!("orders", "kind", OrderKind);
    same!("order_requests", "priority", Priority);
    same!("deployments", "priority", Priority);
    same!("deployments", "state", DeploymentState);
    same!("deployments", "stage", Stage);
    same!("services", "state", ServiceState);
    same!("services", "audit_state", AuditState);
    same!("services", "config_audit", ConfigAudit);
    same!("audits", "state", AuditState);
    same!("audits", "config", ConfigAudit);
    // Of one service nothing is in force in part, and what is provisional is decided before it is written.
    let ends = |word: &&InForce| !matches!(**word, InForce::Partly | InForce::Provisional);
    let wanted = InForce::ALL.iter().filter(ends).map(ToString::to_string);
    assert_eq!(constraint(&database, "footprints", "in_force").await, wanted.collect::<BTreeSet<_>>());
    same!("events", "entity", Entity);
    // This column has several constraints; the list has a name.
    let session = database.session().await.unwrap();
    let row = session
        .query_one("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'orders_state'", &[])
        .await
        .unwrap();
    let found: BTreeSet<String> = quoted(row.get(0)).into_iter().collect();
    assert_eq!(found, OrderState::ALL.iter().map(ToString::to_string).collect());
}

async fn empty(database: &Database) -> (String, Store) {
    let name = format!("turnup_clone_{:08x}_empty_{:x}", u32::MAX, rand::random::<u64>());
    let url = create_database(&database.url(), &name, true).await.unwrap();
    let store = Store::new(&Settings { url, max_connections: 6, timeout_ms: 10_000 }).unwrap();
    (name, store)
}

#[tokio::test]
async fn migrating_twice_and_from_five_sides_at_once() {
    let database = Database::new().await;
    let (name, store) = empty(&database).await;
    assert!(matches!(store.check().await, Err(StoreError::Version { found: 0, wanted: SCHEMA_VERSION })));
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.migrate().await.unwrap() })
        })
        .collect();
    let mut before = Vec::new();
    for task in tasks {
        let (from, to) = task.await.unwrap();
        assert_eq!(to, SCHEMA_VERSION);
        before.push(from);
    }
    before.sort_unstable();
    assert_eq!(before, [0, SCHEMA_VERSION, SCHEMA_VERSION, SCHEMA_VERSION, SCHEMA_VERSION]);
    store.check().await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), (SCHEMA_VERSION, SCHEMA_VERSION));
    let session = database.session().await.unwrap();
    session.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

/// Devices of one address, which were accepted before, stay; a further one is refused.
#[tokio::test]
async fn migration_keeps_devices_that_share_an_address() {
    let database = Database::new().await;
    let (name, store) = empty(&database).await;
    let client = database.session_on(&name).await.unwrap();
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in &files[..6] {
        client.batch_execute(&fs::read_to_string(file).unwrap()).await.unwrap();
    }
    client
        .batch_execute(
            "CREATE TABLE schema_version (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
             INSERT INTO schema_version SELECT generate_series(1, 6);
             INSERT INTO devices (name, region, platform, address, port, host_key, sequence, created_at, updated_at)
             VALUES ('d1', 'eu', 'sim', 'PE1.example.', 830, NULL, 1, '2026-01-01', now()),
                    ('d2', 'eu', 'sim', 'pe1.example', 830, 'ssh-ed25519 ???', 1, '2026-01-02', now()),
                    ('d3', 'eu', 'sim', '2001:DB8::0:1', 830,
                     'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g', 1, now(), now()),
                    ('d4', 'eu', 'sim', 'not:an:address', 830, 'SHA256:abc', 1, now(), now()),
                    ('d5', 'eu', 'sim', '::ffff:192.0.2.1', 830, NULL, 1, now(), now())",
        )
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let rows = client
        .query("SELECT address, fingerprint, shares_address FROM devices ORDER BY name", &[])
        .await
        .unwrap();
    let rows: Vec<(String, Option<String>, bool)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let row =
        |address: &str, print: Option<&str>, shares| (address.to_owned(), print.map(str::to_owned), shares);
    let printed = "SHA256:mKqU+0K8OhKmA8bBQi9Rz0Q5l7/g160hIP+rJYSTNj4";
    assert_eq!(
        rows,
        [
            row("pe1.example", None, false),
            row("pe1.example", None, true),
            row("2001:db8::1", Some(printed), false),
            row("not:an:address", Some("SHA256:abc"), false),
            row("192.0.2.1", None, false),
        ]
    );
    let third = Device { address: "pe1.example".to_owned(), ..device("d6") };
    let answers = store.add_devices(&[third], "anna").await.unwrap();
    let first = turnup_core::name::DeviceName::new("d1").unwrap();
    assert_eq!(answers, [DeviceChange::AddressTaken(first)]);
    drop(client);
    let session = database.session().await.unwrap();
    session.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = Database::new().await;
    let store = database.store();
    store.check().await.unwrap();
    let session = database.session().await.unwrap();
    session
        .execute("INSERT INTO schema_version (version) VALUES ($1)", &[&(SCHEMA_VERSION + 1)])
        .await
        .unwrap();
    let newer = |error| matches!(error, StoreError::Version { found, .. } if found == SCHEMA_VERSION + 1);
    assert!(newer(store.check().await.unwrap_err()));
    assert!(newer(store.migrate().await.unwrap_err()));
    // The connection that was refused is as good as before.
    let limit: String =
        session.query_one("SELECT current_setting('statement_timeout')", &[]).await.unwrap().get(0);
    assert_eq!(limit, "0", "our own session has no limit");
    store.make_partitions().await.unwrap();
}

#[tokio::test]
async fn partitions_are_made_and_what_came_before_them_moves_there() {
    let database = Database::new().await;
    let store = database.store();
    let session = database.session().await.unwrap();
    let partitions = async || -> Vec<String> {
        let rows = session
            .query("SELECT relname::text FROM pg_class WHERE relname ~ '^event(s|_cursors)_[0-9]{4}_[0-9]{2}$' AND relkind = 'r' ORDER BY 1", &[])
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let drop_all = async || {
        for table in partitions().await {
            session.batch_execute(&format!("DROP TABLE {table}")).await.unwrap();
        }
    };
    // The database was migrated before, maybe in another month.
    drop_all().await;
    store.make_partitions().await.unwrap();
    let made = partitions().await;
    assert_eq!(made.len(), 6, "{made:?}");
    add(store, &["d1"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    drop_all().await;
    // Without the month's partition an event goes to the rest, and nothing is refused.
    let id = accept(store, order(&["d1"])).await;
    while lease.number_events(100).await.unwrap() > 0 {}
    store.make_partitions().await.unwrap();
    assert_eq!(partitions().await, made);
    let rest: i64 = session
        .query_one(
            "SELECT (SELECT count(*) FROM events_rest) + (SELECT count(*) FROM event_cursors_rest)",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(rest, 0);
    assert_eq!(history(store, id).await.len(), 2);
    assert_eq!(
        store.events(&turnup_store::EventFilter { limit: 100, ..Default::default() }).await.unwrap().len(),
        2
    );
    store.make_partitions().await.unwrap();
}

#[tokio::test]
async fn old_partitions_go_and_newer_ones_stay() {
    let database = Database::new().await;
    let store = database.store();
    let session = database.session().await.unwrap();
    // The database was migrated before, maybe in another month.
    store.make_partitions().await.unwrap();
    store.drop_old_events(0).await.unwrap();
    session
        .batch_execute(
            "CREATE TABLE events_2001_01 PARTITION OF events FOR VALUES FROM ('2001-01-01 00:00Z') TO ('2001-02-01 00:00Z');
             CREATE TABLE event_cursors_2001_01 PARTITION OF event_cursors FOR VALUES FROM ('2001-01-01 00:00Z') TO ('2001-02-01 00:00Z');
             INSERT INTO events (event_id, entity, entity_id, sequence, what, at, region, definition, actor, data)
             VALUES (gen_random_uuid(), 'device', 'old', 1, 'added', '2001-01-15 12:00Z', 'eu', '-', 'x', '{}')",
        )
        .await
        .unwrap();
    assert_eq!(store.drop_old_events(12).await.unwrap(), 2);
    assert_eq!(store.drop_old_events(12).await.unwrap(), 0);
    assert_eq!(store.drop_old_events(0).await.unwrap(), 0, "the current month has not ended");
    add(store, &["d1"]).await;
    accept(store, order(&["d1"])).await;
}

#[tokio::test]
async fn dropping_partitions_gives_up_rather_than_stop_everybody() {
    let database = Database::new().await;
    let store = database.store();
    let session = database.session().await.unwrap();
    session
        .batch_execute("CREATE TABLE events_2001_01 PARTITION OF events FOR VALUES FROM ('2001-01-01 00:00Z') TO ('2001-02-01 00:00Z')")
        .await
        .unwrap();
    session.batch_execute("BEGIN; SELECT count(*) FROM events").await.unwrap();
    let begin = std::time::Instant::now();
    assert!(store.drop_old_events(12).await.unwrap_err().is_transient());
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "long before the deadline of a call");
    session.batch_execute("COMMIT").await.unwrap();
    assert_eq!(store.drop_old_events(12).await.unwrap(), 1);
}

#[tokio::test]
async fn an_order_far_in_the_future_keeps_its_history_in_this_month() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut far = order(&["d1"]);
    far.due = Some(in_s(3 * 365 * 86_400));
    let id = accept(store, far).await;
    assert_eq!(history(store, id).await.len(), 2);
}

/// What the release before has written is there afterwards, with what is new filled in.
#[tokio::test]
async fn rows_of_the_release_before_survive() {
    let database = Database::new().await;
    let (name, store) = empty(&database).await;
    let old = database.session_on(&name).await.unwrap();
    old.batch_execute(include_str!("../../migrations/0001_orders.sql")).await.unwrap();
    old.batch_execute(
        "CREATE TABLE schema_version (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
         INSERT INTO schema_version (version) VALUES (1);
         INSERT INTO orders (id, kind, service_id, state, generation, sequence, updated_at) VALUES
            ('00000000-0000-0000-0000-000000000001', 'provision', '00000000-0000-0000-0000-00000000000a', 'completed', 1, 4, now()),
            ('00000000-0000-0000-0000-000000000002', 'decommission', '00000000-0000-0000-0000-00000000000a', 'requested', 0, 1, now());
         INSERT INTO order_requests (id, definition, definition_version, service_id, region, attributes, endpoints,
                                     devices, priority, requester, digest, created_at)
         SELECT id, 'eline', 1, service_id, 'eu', '{\"mtu\": 1500}', '[]', '{d1}', 'normal', 'crm', sha256('x'), now() FROM orders;
         INSERT INTO order_devices SELECT 'd1', id FROM orders;
         INSERT INTO services (id, definition, definition_version, region, attributes, endpoints, devices, requester,
                               created_at, state, last_order, sequence, updated_at)
         SELECT service_id, 'eline', 1, 'eu', '{}', '[]', '{d1}', 'crm', now(), 'fail_deploy',
                '00000000-0000-0000-0000-000000000002', 2, now() FROM orders WHERE kind = 'provision';
         INSERT INTO footprints (service_id, device, footprint) VALUES ('00000000-0000-0000-0000-00000000000a', 'd1', '{\"a\": 1}');",
    )
    .await
    .unwrap();
    assert_eq!(store.migrate().await.unwrap(), (1, SCHEMA_VERSION));
    let order = |n: u128| turnup_core::id::OrderId(uuid::Uuid::from_u128(n));
    let service = turnup_core::id::ServiceId(uuid::Uuid::from_u128(10));
    let view = store.order(order(2)).await.unwrap().unwrap();
    assert_eq!(
        (view.attributes["mtu"].as_i64(), view.options),
        (Some(1500), turnup_core::order::OrderOptions::default())
    );
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!(
        (view.wanted_by, view.last_order, view.config_audit),
        (order(1), order(2), ConfigAudit::NotAudited)
    );
    let footprints = store.footprints(service).await.unwrap();
    assert_eq!((footprints[0].in_force, footprints[0].strays.len()), (InForce::New, 0));
    assert_eq!(footprints[0].footprint["a"], 1);
    drop(old);
    let session = database.session().await.unwrap();
    session.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}
