WITH appended AS (
    INSERT INTO events (event_id, entity, entity_id, sequence, what, at, region, definition, correlation_id,
                        from_state, to_state, why, actor, data)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::timestamptz[], $7::text[],
                         $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::json[])
    RETURNING id, at
)
INSERT INTO fresh_events (events, ids, times)
SELECT count(*), array_agg(id ORDER BY id), array_agg(at ORDER BY id) FROM appended
