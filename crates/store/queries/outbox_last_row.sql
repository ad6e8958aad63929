SELECT coalesce(max(id), 0) FROM outbox WHERE not_before IS NULL
