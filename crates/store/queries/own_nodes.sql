INSERT INTO owned_nodes (device, node, service_id)
SELECT part.device, node, part.service_id
FROM deployments
CROSS JOIN LATERAL jsonb_to_recordset(deployments.footprints) AS part (service_id uuid, device text, nodes jsonb)
CROSS JOIN LATERAL jsonb_array_elements_text(part.nodes) AS node
WHERE deployments.id = ANY ($1)
