SELECT id FROM services WHERE external_id = $1 ORDER BY id DESC LIMIT $2
