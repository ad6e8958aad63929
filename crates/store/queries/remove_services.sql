DELETE FROM services WHERE id = ANY ($1)
