INSERT INTO outbox (order_id, revision, due)
SELECT DISTINCT orders.id, orders.schedule_revision, orders.scheduled_for
FROM (
    SELECT DISTINCT ON (lease_waits.device) lease_waits.device, lease_waits.order_id
    FROM lease_waits ORDER BY lease_waits.device, lease_waits.ticket
) AS first
JOIN leases ON leases.device = first.device AND leases.order_id IS NULL
JOIN orders ON orders.id = first.order_id AND orders.state = 'scheduled' AND orders.scheduled_for < $1
WHERE NOT EXISTS (SELECT FROM outbox WHERE outbox.order_id = orders.id)
LIMIT $2
