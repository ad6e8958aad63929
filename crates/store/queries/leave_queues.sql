DELETE FROM lease_waits USING unnest($1::text[], $2::uuid[]) AS given (device, order_id)
WHERE lease_waits.device = given.device AND lease_waits.order_id = given.order_id
