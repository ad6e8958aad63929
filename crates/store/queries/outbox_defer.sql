UPDATE outbox SET not_before = $2 WHERE id = ANY ($1) AND not_before IS NULL
