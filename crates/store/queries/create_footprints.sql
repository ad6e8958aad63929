INSERT INTO footprints (service_id, device, footprint)
SELECT part.service_id, part.device, part.footprint
FROM deployments
CROSS JOIN LATERAL jsonb_to_recordset(deployments.footprints) AS part (service_id uuid, device text, footprint jsonb)
WHERE deployments.id = ANY ($1)
