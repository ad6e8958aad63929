SELECT touching.order_id AS id, kind, state, scheduled_for, touching.device, service_id
FROM (SELECT device, order_id FROM order_devices WHERE device = ANY ($1) OFFSET 0) AS touching
CROSS JOIN LATERAL (
    SELECT kind, state, scheduled_for, service_id FROM orders WHERE orders.id = touching.order_id OFFSET 0
) AS orders
WHERE state IN ('requested', 'scheduled', 'in_progress')
ORDER BY touching.order_id, touching.device
LIMIT $2
