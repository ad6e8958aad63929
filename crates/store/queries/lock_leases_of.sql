SELECT device FROM leases
WHERE device IN (SELECT unnest(devices) FROM orders WHERE id = ANY ($1))
ORDER BY device
FOR UPDATE
