DELETE FROM lease_waits WHERE order_id = ANY ($1)
