SELECT own.device, coalesce(
    (SELECT leases.order_id FROM leases WHERE leases.device = own.device),
    (SELECT earlier.order_id FROM lease_waits AS earlier
     WHERE earlier.device = own.device AND earlier.ticket < own.ticket ORDER BY earlier.ticket LIMIT 1)
) AS in_front, EXISTS (
    SELECT FROM leases WHERE leases.device = own.device AND leases.exam_until IS NOT NULL
) AS is_exam
FROM lease_waits AS own
WHERE own.order_id = $1
  AND (EXISTS (SELECT FROM leases WHERE leases.device = own.device AND leases.order_id IS NOT NULL)
       OR EXISTS (SELECT FROM lease_waits AS earlier WHERE earlier.device = own.device AND earlier.ticket < own.ticket))
ORDER BY own.device
