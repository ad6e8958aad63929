SELECT deployment_orders.deployment_id, orders.id, orders.kind, order_requests.definition, orders.service_id,
       order_requests.region, order_requests.external_id, order_requests.requester, orders.state, orders.sequence,
       (order_requests.options->>'undoes')::uuid AS undoes
FROM deployment_orders
JOIN orders ON orders.id = deployment_orders.order_id
JOIN order_requests ON order_requests.id = orders.id
WHERE deployment_orders.deployment_id = ANY ($1) AND orders.state = 'in_progress'
ORDER BY orders.id
FOR NO KEY UPDATE OF orders
