WITH overdue AS (
    SELECT id FROM orders
    WHERE state = 'scheduled' AND scheduled_for < $1 AND (swept_at IS NULL OR swept_at < $1)
      AND NOT EXISTS (SELECT FROM lease_waits WHERE lease_waits.order_id = orders.id)
      AND NOT EXISTS (SELECT FROM outbox WHERE coalesce(outbox.order_id, outbox.deployment_id) = orders.id
                      AND outbox.revision = orders.schedule_revision)
    ORDER BY scheduled_for
    LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
), swept AS (
    UPDATE orders SET swept_at = $3 FROM overdue WHERE orders.id = overdue.id
    RETURNING orders.id, schedule_revision, scheduled_for
)
INSERT INTO outbox (order_id, revision, due) SELECT id, schedule_revision, scheduled_for FROM swept
