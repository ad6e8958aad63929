SELECT (SELECT count(*) FROM footprints WHERE device = $1)
     + (SELECT count(*) FROM order_devices
        JOIN orders ON orders.id = order_devices.order_id
        WHERE order_devices.device = $1 AND state IN ('requested', 'scheduled', 'in_progress', 'failed_deploy'))
