-- Of a deployment of several orders, the devices of this one: what its service has there afterwards is kept
-- for each.
SELECT deployments.id, region, generation, attempt, state, phase, worker, in_doubt_since, created_at, updated_at,
       CASE WHEN EXISTS (
           SELECT FROM deployment_orders AS others
           WHERE others.deployment_id = deployments.id AND others.order_id <> $1
       ) THEN (
           SELECT coalesce(json_agg(report ORDER BY place), '[]')
           FROM json_array_elements(devices) WITH ORDINALITY AS reports (report, place)
           WHERE report ->> 'device' IN (
               SELECT own ->> 'device'
               FROM dispatches
               CROSS JOIN json_array_elements(dispatches.footprints) AS own
               WHERE dispatches.deployment_id = deployments.id
                 AND own ->> 'service_id' = (SELECT service_id::text FROM orders WHERE orders.id = $1)
           )
       ) ELSE devices END AS devices,
       transaction_id, stage, confirm_by, reasons
FROM deployments
JOIN deployment_orders ON deployment_orders.deployment_id = deployments.id
WHERE deployment_orders.order_id = $1
ORDER BY deployments.id
