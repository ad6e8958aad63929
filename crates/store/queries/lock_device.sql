SELECT name, region, platform, address, port, host_key, credential, description, sequence, created_at, updated_at
FROM devices WHERE name = $1 FOR UPDATE
