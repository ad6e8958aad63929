SELECT deployments.id, region, generation, attempt, state, phase, worker, devices, in_doubt_since, created_at, updated_at,
       transaction_id, stage, confirm_by, reasons,
       ARRAY (SELECT order_id FROM deployment_orders WHERE deployment_id = $1 ORDER BY order_id) AS orders
FROM deployments
WHERE deployments.id = $1
