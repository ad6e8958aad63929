SELECT id, state FROM services WHERE id = ANY ($1)
