SELECT deployment_id, order_id FROM deployment_orders WHERE deployment_id = ANY ($1)
