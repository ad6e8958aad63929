SELECT owned_nodes.device, owned_nodes.node, owned_nodes.service_id
FROM unnest($3::text[], $4::text[]) AS around (device, node)
JOIN owned_nodes ON owned_nodes.device = around.device AND owned_nodes.node = around.node
UNION
SELECT owned_nodes.device, owned_nodes.node, owned_nodes.service_id
FROM unnest($1::text[], $2::text[]) AS given (device, node)
JOIN owned_nodes ON owned_nodes.device = given.device AND owned_nodes.node = given.node
UNION
SELECT owned_nodes.device, owned_nodes.node, owned_nodes.service_id
FROM unnest($1::text[], $2::text[]) AS given (device, node)
JOIN owned_nodes ON owned_nodes.device = given.device
    AND owned_nodes.node > given.node || '/' AND owned_nodes.node < given.node || '0'
