UPDATE services
SET state = given.state, last_order = given.order_id, sequence = given.sequence, updated_at = $5
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[]) AS given (id, state, order_id, sequence)
WHERE services.id = given.id
