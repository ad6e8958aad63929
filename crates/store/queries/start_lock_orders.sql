SELECT orders.id, kind, definition, definition_version, orders.service_id, region, attributes, endpoints, devices, priority,
       external_id, description, requester, derived_from, superseded_by, created_at, state, schedule_revision, scheduled_for,
       generation, retries, attempts, sequence, errors, updated_at, options
FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::int[])) AS given (id, revision)
JOIN orders ON orders.id = given.id AND orders.schedule_revision = given.revision
JOIN order_requests ON order_requests.id = orders.id
WHERE state = 'scheduled'
ORDER BY orders.id
FOR NO KEY UPDATE OF orders
