UPDATE orders
SET state = $2, schedule_revision = $3, scheduled_for = $4, sequence = $5, updated_at = $6,
    errors = CASE WHEN $2 = 'scheduled' THEN '[]' ELSE errors END
WHERE id = $1
