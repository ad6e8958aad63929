-- Unfinished orders of these devices, without reading the devices' whole history: those that run, those
-- whose time comes next, those without a time that came last, and what was ordered last on each device.
WITH likely AS (
    (SELECT id FROM orders WHERE state = 'in_progress' LIMIT 500)
    UNION
    (SELECT id FROM orders WHERE state = 'scheduled' AND scheduled_for IS NOT NULL ORDER BY scheduled_for LIMIT 500)
    UNION
    -- By (state, id), as by id alone all orders would be read backwards in search of one.
    (SELECT id FROM orders WHERE state = 'requested' ORDER BY state DESC, id DESC LIMIT 500)
    UNION
    SELECT newest.order_id
    FROM unnest($1::text[]) AS given (device)
    CROSS JOIN LATERAL (
        SELECT order_id FROM order_devices WHERE order_devices.device = given.device ORDER BY order_id DESC LIMIT 50
    ) AS newest
)
SELECT touching.order_id AS id, kind, state, scheduled_for, touching.device, service_id
FROM likely
CROSS JOIN unnest($1::text[]) AS given (device)
JOIN order_devices AS touching ON touching.device = given.device AND touching.order_id = likely.id
CROSS JOIN LATERAL (
    SELECT kind, state, scheduled_for, service_id FROM orders WHERE orders.id = touching.order_id OFFSET 0
) AS orders
WHERE state IN ('requested', 'scheduled', 'in_progress')
ORDER BY touching.order_id, touching.device
LIMIT $2
