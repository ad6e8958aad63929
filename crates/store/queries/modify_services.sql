-- What completed modify orders (of $1, others count for nothing) have put in force.
UPDATE services
SET wanted_by = order_requests.id, definition_version = order_requests.definition_version,
    -- The order has the devices that it leaves as well: it may be over several regions and the service in one.
    region = CASE WHEN order_requests.region <> 'multi' THEN order_requests.region ELSE (
        SELECT CASE WHEN count(DISTINCT devices.region) > 1 THEN 'multi'
                    ELSE coalesce(min(devices.region), 'multi') END
        FROM json_array_elements(order_requests.endpoints) AS endpoint
        JOIN devices ON devices.name = endpoint->>'device'
    ) END,
    attributes = order_requests.attributes, endpoints = order_requests.endpoints,
    devices = ARRAY(SELECT DISTINCT endpoint->>'device' COLLATE "C" AS device
                    FROM json_array_elements(order_requests.endpoints) AS endpoint ORDER BY device)
FROM order_requests
JOIN orders ON orders.id = order_requests.id AND orders.kind = 'modify'
WHERE order_requests.id = ANY ($1) AND services.id = order_requests.service_id
