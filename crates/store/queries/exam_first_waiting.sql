SELECT order_id FROM lease_waits WHERE device = $1 ORDER BY ticket LIMIT 1
