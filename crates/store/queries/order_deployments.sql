SELECT deployments.id, region, generation, attempt, state, phase, worker, devices, in_doubt_since, created_at, updated_at,
       transaction_id, stage, confirm_by, reasons
FROM deployments
JOIN deployment_orders ON deployment_orders.deployment_id = deployments.id
WHERE deployment_orders.order_id = $1
ORDER BY deployments.id
