INSERT INTO services (id, definition, definition_version, region, attributes, endpoints, devices, external_id,
                      requester, created_at, state, last_order, wanted_by, sequence, updated_at)
SELECT service_id, definition, definition_version, region, attributes, endpoints, devices, external_id,
       requester, $2, 'deployed', id, id, 1, $2
FROM order_requests
WHERE id = ANY ($1)
