-- Unfinished orders of these devices, without reading the devices' whole history: those that run, those
-- whose time comes next, those without a time that came last, and what was ordered last on each device.
WITH likely AS (
    -- Each by the order of its index; the planner would else gather rows from all over the table, or by id alone
    -- read all orders backwards in search of one.
    (SELECT id, kind, state, scheduled_for, service_id FROM orders
     WHERE state = 'in_progress' ORDER BY state, id LIMIT 500)
    UNION
    (SELECT id, kind, state, scheduled_for, service_id FROM orders
     WHERE state = 'scheduled' AND scheduled_for IS NOT NULL ORDER BY scheduled_for LIMIT 500)
    UNION
    (SELECT id, kind, state, scheduled_for, service_id FROM orders
     WHERE state = 'requested' ORDER BY state DESC, id DESC LIMIT 500)
    UNION
    SELECT newest.order_id, kind, state, scheduled_for, service_id
    FROM unnest($1::text[]) AS given (device)
    CROSS JOIN LATERAL (
        SELECT order_id FROM order_devices WHERE order_devices.device = given.device ORDER BY order_id DESC LIMIT 50
    ) AS newest
    CROSS JOIN LATERAL (
        SELECT kind, state, scheduled_for, service_id FROM orders WHERE orders.id = newest.order_id OFFSET 0
    ) AS orders
    WHERE state IN ('requested', 'scheduled', 'in_progress')
)
SELECT likely.id, kind, state, scheduled_for, given.device, service_id
FROM likely
CROSS JOIN unnest($1::text[]) AS given (device)
-- (A look-up each over OFFSET 0; a join would read all that the device ever had.)
CROSS JOIN LATERAL (
    SELECT FROM order_devices
    WHERE order_devices.device = given.device AND order_devices.order_id = likely.id OFFSET 0
) AS touching
ORDER BY likely.id, given.device
LIMIT $2
