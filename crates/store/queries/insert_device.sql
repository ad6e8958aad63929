INSERT INTO devices (name, region, platform, address, port, host_key, credential, description, sequence, created_at, updated_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8,
       1 + coalesce((SELECT max(sequence) FROM events WHERE entity = 'device' AND entity_id = $1), 0), $9, $9
ON CONFLICT DO NOTHING
RETURNING sequence
