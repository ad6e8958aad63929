INSERT INTO orders (id, kind, definition, definition_version, service_id, region, attributes, endpoints, devices,
                    priority, external_id, description, requester, idempotency_key, digest, derived_from,
                    created_at, updated_at, state, scheduled_for, schedule_revision, sequence)
SELECT id, kind, definition, version, service_id, region, attributes, endpoints,
       ARRAY(SELECT jsonb_array_elements_text(devices)),
       priority, external_id, description, requester, key, digest, derived_from, at, at, state, due,
       CASE WHEN due IS NULL THEN 0 ELSE 1 END, CASE WHEN due IS NULL THEN 1 ELSE 2 END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::uuid[], $6::text[], $7::jsonb[], $8::jsonb[],
            $9::jsonb[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[], $16::uuid[],
            $17::timestamptz[], $18::text[], $19::timestamptz[])
     AS new (id, kind, definition, version, service_id, region, attributes, endpoints, devices, priority,
             external_id, description, requester, key, digest, derived_from, at, state, due)
ON CONFLICT DO NOTHING
RETURNING id
