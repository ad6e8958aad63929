SELECT orders.id, kind, definition, definition_version, orders.service_id, region, attributes, endpoints, devices, priority,
       external_id, description, requester, derived_from, superseded_by, created_at, state, schedule_revision, scheduled_for,
       generation, retries, attempts, sequence, errors, updated_at, options
FROM orders
JOIN order_requests ON order_requests.id = orders.id
WHERE orders.id = $1
