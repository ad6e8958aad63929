-- What failed attempts may have left: their footprints become strays, and what these own is taken, so
-- that nobody else builds on it.
WITH part AS MATERIALIZED (
    SELECT given.service_id, given.device, given.in_force, part.footprint, part.nodes, part.shared
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS given (service_id, deployment_id, device, in_force)
    LEFT JOIN LATERAL (
        SELECT part.footprint, part.nodes, part.shared
        FROM dispatches
        CROSS JOIN LATERAL json_to_recordset(dispatches.footprints)
                   AS part (service_id uuid, device text, footprint json, nodes json, shared json)
        WHERE dispatches.deployment_id = given.deployment_id
          AND part.service_id = given.service_id AND part.device = given.device AND part.footprint IS NOT NULL
        LIMIT 1
    ) AS part ON true
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
INSERT INTO footprints (service_id, device, footprint, in_force, strays)
-- What the attempt has put in force is not what the service is to have, unless that is the same.
SELECT service_id, device, 'null',
       CASE WHEN in_force = 'new' AND footprint::jsonb = (
                SELECT had.footprint::jsonb FROM footprints AS had
                WHERE had.service_id = part.service_id AND had.device = part.device)
            THEN 'new' ELSE 'unknown' END,
       CASE WHEN footprint IS NULL THEN '[]' ELSE json_build_array(footprint) END
FROM part
-- Nothing is known of a device that the attempt was to leave as it was, without the service.
WHERE footprint IS NOT NULL
   OR EXISTS (SELECT FROM footprints WHERE footprints.service_id = part.service_id AND footprints.device = part.device)
ON CONFLICT (service_id, device) DO UPDATE
SET in_force = excluded.in_force,
    -- Each once, the newest four, oldest first.
    strays = (
        SELECT coalesce(json_agg(newest.stray ORDER BY newest.place), '[]')
        FROM (
            SELECT latest.stray, latest.place
            FROM (
                SELECT DISTINCT ON (stray::jsonb) stray, place
                FROM (
                    SELECT stray, place FROM json_array_elements(footprints.strays) WITH ORDINALITY AS had (stray, place)
                    UNION ALL
                    SELECT stray, 1000 + place
                    FROM json_array_elements(excluded.strays) WITH ORDINALITY AS more (stray, place)
                ) AS together
                ORDER BY stray::jsonb, place DESC
            ) AS latest
            ORDER BY latest.place DESC
            LIMIT 4
        ) AS newest
    )
