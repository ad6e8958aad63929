-- What completed modify orders (of $1, others count for nothing) have put in force.
UPDATE services
SET wanted_by = order_requests.id, definition_version = order_requests.definition_version,
    region = order_requests.region, attributes = order_requests.attributes, endpoints = order_requests.endpoints,
    devices = order_requests.devices
FROM order_requests
JOIN orders ON orders.id = order_requests.id AND orders.kind = 'modify'
WHERE order_requests.id = ANY ($1) AND services.id = order_requests.service_id
