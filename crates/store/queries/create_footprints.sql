-- A deployment may have put several services in force, and others not: only those of these orders.
WITH given AS (
    SELECT given.deployment_id, orders.service_id
    FROM unnest($1::uuid[], $2::uuid[]) AS given (deployment_id, order_id)
    JOIN orders ON orders.id = given.order_id
), part AS MATERIALIZED (
    SELECT part.service_id, part.device, part.footprint, part.nodes, part.shared
    FROM given
    JOIN dispatches ON dispatches.deployment_id = given.deployment_id
    CROSS JOIN LATERAL json_to_recordset(dispatches.footprints)
               AS part (service_id uuid, device text, footprint json, nodes json, shared json)
    WHERE part.service_id = given.service_id AND part.footprint IS NOT NULL
), owned AS (
    INSERT INTO owned_nodes (device, node, service_id)
    SELECT part.device, node, part.service_id
    FROM part CROSS JOIN LATERAL json_array_elements_text(part.nodes) AS node
    ON CONFLICT DO NOTHING
), shared AS (
    INSERT INTO shared_nodes (device, node, service_id, value)
    SELECT part.device, shared.node, part.service_id, shared.value
    FROM part CROSS JOIN LATERAL json_to_recordset(part.shared) AS shared (node text, value text)
    ON CONFLICT DO NOTHING
)
INSERT INTO footprints (service_id, device, footprint) SELECT service_id, device, footprint FROM part
