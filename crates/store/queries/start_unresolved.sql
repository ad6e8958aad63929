-- Those of these orders of which a deployment has ended without anybody knowing what is in force.
SELECT DISTINCT order_id
FROM deployment_orders
JOIN deployments ON deployments.id = deployment_orders.deployment_id
WHERE order_id = ANY ($1) AND state = 'unresolved'
