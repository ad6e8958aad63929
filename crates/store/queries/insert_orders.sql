WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::uuid[], $6::text[], $7::json[], $8::json[],
                         $9::json[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[],
                         $16::uuid[], $17::timestamptz[], $18::text[], $19::timestamptz[], $20::json[])
             AS given (id, kind, definition, version, service_id, region, attributes, endpoints, devices, priority,
                       external_id, description, requester, key, digest, derived_from, at, state, due, options)
), stored AS (
    -- In one order everywhere: transactions with the same keys wait for each other, never in a circle.
    INSERT INTO order_requests (id, definition, definition_version, service_id, region, attributes, endpoints, devices,
                                priority, external_id, description, requester, idempotency_key, digest,
                                derived_from, created_at, options)
    SELECT id, definition, version, service_id, region, attributes, endpoints,
           ARRAY(SELECT json_array_elements_text(devices)),
           priority, external_id, description, requester, key, digest, derived_from, at, options
    FROM given
    ORDER BY requester COLLATE "C", key COLLATE "C", external_id COLLATE "C", id
    ON CONFLICT DO NOTHING
    RETURNING id, devices
), placed AS (
    INSERT INTO orders (id, kind, service_id, state, scheduled_for, schedule_revision, sequence, updated_at)
    SELECT given.id, kind, service_id, state, due,
           CASE WHEN due IS NULL THEN 0 ELSE 1 END, CASE WHEN due IS NULL THEN 1 ELSE 2 END, at
    FROM given JOIN stored ON stored.id = given.id
), touched AS (
    INSERT INTO order_devices (device, order_id) SELECT DISTINCT unnest(devices), id FROM stored
)
SELECT id FROM stored
