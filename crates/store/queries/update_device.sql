UPDATE devices
SET region = $2, platform = $3, address = $4, port = $5, host_key = $6, credential = $7, description = $8,
    updated_at = $9, sequence = sequence + 1, fingerprint = $10,
    shares_address = shares_address AND address = $4 AND port = $5
WHERE name = $1
RETURNING sequence
