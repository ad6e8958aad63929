-- What the deployments replace: all that their services hold on the devices that they name.
WITH part AS MATERIALIZED (
    SELECT DISTINCT part.service_id, part.device
    FROM dispatches
    CROSS JOIN LATERAL json_to_recordset(dispatches.footprints) AS part (service_id uuid, device text)
    WHERE dispatches.deployment_id = ANY ($1)
), owned AS (
    DELETE FROM owned_nodes USING part
    WHERE owned_nodes.service_id = part.service_id AND owned_nodes.device = part.device
), shared AS (
    DELETE FROM shared_nodes USING part
    WHERE shared_nodes.service_id = part.service_id AND shared_nodes.device = part.device
)
DELETE FROM footprints USING part
WHERE footprints.service_id = part.service_id AND footprints.device = part.device
