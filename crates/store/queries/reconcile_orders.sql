INSERT INTO outbox (order_id, revision, due)
SELECT id, schedule_revision, scheduled_for
FROM orders
WHERE state = 'scheduled' AND scheduled_for < $1
  AND NOT EXISTS (SELECT FROM outbox WHERE outbox.order_id = orders.id)
