SELECT * FROM devices
WHERE ($1::text IS NULL OR region = $1) AND ($2::text IS NULL OR name > $2)
ORDER BY name
LIMIT $3
