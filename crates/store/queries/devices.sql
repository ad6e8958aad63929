SELECT name, region, platform, address, port, host_key, credential, description, sequence, created_at, updated_at
FROM devices
WHERE ($1::text IS NULL OR region = $1) AND ($2::text IS NULL OR name > $2)
ORDER BY name
LIMIT $3
