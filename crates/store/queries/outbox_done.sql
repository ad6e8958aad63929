DELETE FROM outbox WHERE id = ANY ($1) AND not_before IS NULL
