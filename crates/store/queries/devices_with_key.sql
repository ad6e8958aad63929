SELECT fingerprint, name FROM devices WHERE fingerprint = ANY ($1) ORDER BY name LIMIT $2
