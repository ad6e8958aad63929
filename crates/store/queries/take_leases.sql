UPDATE leases
SET order_id = given.order_id, epoch = epoch + 1, since = $3
FROM unnest($1::text[], $2::uuid[]) AS given (device, order_id)
WHERE leases.device = given.device AND leases.order_id IS NULL
