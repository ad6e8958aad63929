SELECT shared_nodes.device, shared_nodes.node, shared_nodes.service_id, shared_nodes.value
FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[])) AS given (device, node)
JOIN shared_nodes ON shared_nodes.device = given.device AND shared_nodes.node = given.node
ORDER BY shared_nodes.device, shared_nodes.node, shared_nodes.service_id
