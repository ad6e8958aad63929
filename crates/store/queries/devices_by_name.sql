SELECT * FROM devices WHERE name = ANY ($1)
