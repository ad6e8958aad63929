-- Where the services are now, and where their orders stand in a queue, be it in vain by now.
SELECT service_id, device FROM footprints WHERE service_id = ANY ($1)
UNION ALL
SELECT NULL, device FROM lease_waits WHERE order_id = ANY ($2)
