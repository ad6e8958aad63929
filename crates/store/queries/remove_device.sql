DELETE FROM devices WHERE name = $1
