SELECT id, attributes, endpoints, options FROM order_requests WHERE id = ANY ($1)
