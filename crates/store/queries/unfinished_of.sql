SELECT request.id, kind, state, scheduled_for, NULL::text AS device, service_id
FROM (SELECT id FROM order_requests WHERE service_id = $1 OFFSET 0) AS request
CROSS JOIN LATERAL (
    SELECT kind, state, scheduled_for, service_id FROM orders WHERE orders.id = request.id OFFSET 0
) AS orders
WHERE state IN ('requested', 'scheduled', 'in_progress')
ORDER BY request.id
