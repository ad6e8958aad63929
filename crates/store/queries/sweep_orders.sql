INSERT INTO outbox (order_id, revision, due)
SELECT id, schedule_revision, scheduled_for
FROM orders
WHERE state = 'scheduled' AND scheduled_for < $1
  AND NOT EXISTS (SELECT FROM lease_waits WHERE lease_waits.order_id = orders.id)
  AND NOT EXISTS (SELECT FROM outbox WHERE outbox.order_id = orders.id AND outbox.not_before IS NULL)
ORDER BY scheduled_for
LIMIT $2
