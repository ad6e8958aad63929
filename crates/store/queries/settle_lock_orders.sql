SELECT orders.id, orders.kind, orders.definition, orders.service_id, orders.region, orders.external_id,
       orders.requester, orders.state, orders.sequence,
       services.state AS service_state, services.sequence AS service_sequence
FROM orders
LEFT JOIN services ON services.id = orders.service_id
WHERE orders.id IN (SELECT order_id FROM deployment_orders WHERE deployment_id = ANY ($1))
ORDER BY orders.id
FOR UPDATE OF orders
