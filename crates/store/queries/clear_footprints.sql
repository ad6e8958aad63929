-- What these orders' deployments replace: all that their services hold on the devices that are named.
WITH given AS (
    SELECT given.deployment_id, orders.service_id
    FROM unnest($1::uuid[], $2::uuid[]) AS given (deployment_id, order_id)
    JOIN orders ON orders.id = given.order_id
), part AS MATERIALIZED (
    SELECT DISTINCT part.service_id, part.device
    FROM given
    JOIN dispatches ON dispatches.deployment_id = given.deployment_id
    CROSS JOIN LATERAL json_to_recordset(dispatches.footprints) AS part (service_id uuid, device text)
    WHERE part.service_id = given.service_id
), owned AS (
    DELETE FROM owned_nodes USING part
    WHERE owned_nodes.service_id = part.service_id AND owned_nodes.device = part.device
), shared AS (
    DELETE FROM shared_nodes USING part
    WHERE shared_nodes.service_id = part.service_id AND shared_nodes.device = part.device
)
DELETE FROM footprints USING part
WHERE footprints.service_id = part.service_id AND footprints.device = part.device
