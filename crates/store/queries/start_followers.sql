-- Those who wait for the free ones of these devices, the first of each queue; not those whom somebody else
-- is dealing with, as we hold locks already.
SELECT orders.id, kind, definition, definition_version, orders.service_id, region, attributes, endpoints, devices, priority,
       external_id, description, requester, derived_from, superseded_by, created_at, state, schedule_revision, scheduled_for,
       generation, retries, attempts, sequence, errors, updated_at, options
FROM orders
JOIN order_requests ON order_requests.id = orders.id
WHERE orders.id IN (
    SELECT first.order_id
    FROM unnest($1::text[]) AS given (device)
    JOIN leases ON leases.device = given.device AND leases.order_id IS NULL
    CROSS JOIN LATERAL (
        SELECT order_id FROM lease_waits WHERE lease_waits.device = given.device ORDER BY ticket LIMIT $3
    ) AS first
) AND orders.id <> ALL ($2) AND state = 'scheduled' AND scheduled_for <= $4
ORDER BY orders.id
LIMIT 1000
FOR NO KEY UPDATE OF orders SKIP LOCKED
