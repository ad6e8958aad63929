SELECT device FROM leases
WHERE device IN (SELECT unnest(devices) FROM order_requests WHERE id = ANY ($1))
ORDER BY device
FOR NO KEY UPDATE
