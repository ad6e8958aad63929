UPDATE orders
SET state = $2, schedule_revision = $3, scheduled_for = $4, sequence = $5, updated_at = $6,
    -- Whoever gives an order a time, or takes it away, begins its attempts anew.
    retries = CASE WHEN $2 = 'cancelled' THEN retries ELSE 0 END, errors = CASE WHEN $2 = 'scheduled' THEN '[]' ELSE errors END
WHERE id = $1
