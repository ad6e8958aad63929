INSERT INTO outbox (order_id, revision, due)
SELECT DISTINCT orders.id, orders.schedule_revision, orders.scheduled_for
FROM unnest($1::text[]) AS given (device)
JOIN leases ON leases.device = given.device AND leases.order_id IS NULL
CROSS JOIN LATERAL (
    SELECT order_id FROM lease_waits WHERE lease_waits.device = given.device ORDER BY ticket LIMIT 1
) AS first
JOIN orders ON orders.id = first.order_id AND orders.state = 'scheduled'
