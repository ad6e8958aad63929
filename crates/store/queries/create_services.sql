INSERT INTO services (id, definition, definition_version, region, attributes, endpoints, devices, external_id,
                      requester, created_at, state, last_order, wanted_by, sequence, updated_at)
SELECT service_id, definition, definition_version, region, attributes, endpoints, devices,
       -- A service that is created again keeps the external id that it had.
       CASE WHEN external_id IS NULL AND options->>'undoes' IS NOT NULL THEN (
           SELECT first.external_id FROM order_requests AS first
           JOIN orders ON orders.id = first.id AND orders.kind = 'provision' AND orders.state = 'completed'
           WHERE first.service_id = order_requests.service_id AND first.external_id IS NOT NULL
           ORDER BY first.id LIMIT 1
       ) ELSE external_id END,
       requester, $2, 'deployed', id, id, given.sequence, $2
FROM unnest($1::uuid[], $3::int[]) AS given (order_id, sequence)
JOIN order_requests ON order_requests.id = given.order_id
