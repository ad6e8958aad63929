WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[],
                         $9::timestamptz[], $10::text[]) WITH ORDINALITY
             AS given (name, region, platform, address, port, host_key, credential, description, at, fingerprint, place)
), added AS (
    INSERT INTO devices (name, region, platform, address, port, host_key, credential, description, sequence,
                         created_at, updated_at, fingerprint)
    SELECT name, region, platform, address, port, host_key, credential, description,
           1 + coalesce((SELECT max(sequence) FROM events WHERE entity_id = name AND entity = 'device'), 0), at, at,
           fingerprint
    FROM given
    ORDER BY name, place
    ON CONFLICT DO NOTHING
    RETURNING name, sequence
), leased AS (
    INSERT INTO leases (device) SELECT name FROM added ORDER BY name ON CONFLICT DO NOTHING
)
SELECT name, sequence FROM added
