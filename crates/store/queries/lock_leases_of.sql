SELECT device FROM leases
WHERE device IN (
    SELECT unnest(order_requests.devices || orders.more_devices)
    FROM order_requests JOIN orders ON orders.id = order_requests.id
    WHERE order_requests.id = ANY ($1)
)
ORDER BY device
FOR NO KEY UPDATE
