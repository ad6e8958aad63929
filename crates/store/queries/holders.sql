-- All holders of a node want the same in it, and a node may have thousands: two of each tell whether there is
-- another than whoever asks.
SELECT DISTINCT device, node, service_id, value
FROM (
    SELECT holder.device, holder.node, holder.service_id, holder.value
    FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[])) AS given (device, node)
    CROSS JOIN LATERAL (
        SELECT device, node, service_id, value FROM shared_nodes
        WHERE shared_nodes.device = given.device AND shared_nodes.node = given.node
        ORDER BY service_id LIMIT 2
    ) AS holder
    UNION ALL
    SELECT inside.device, inside.node, inside.service_id, inside.value
    FROM (SELECT DISTINCT * FROM unnest($3::text[], $4::text[])) AS given (device, node)
    CROSS JOIN LATERAL (
        SELECT device, node, service_id, value FROM shared_nodes
        WHERE shared_nodes.device = given.device
          AND shared_nodes.node > given.node || '/' AND shared_nodes.node < given.node || '0'
    ) AS inside
) AS found
ORDER BY device, node, service_id
