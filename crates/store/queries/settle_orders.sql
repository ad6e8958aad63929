UPDATE orders
SET state = given.state, sequence = given.sequence, errors = given.errors, updated_at = $5
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::jsonb[]) AS given (id, state, sequence, errors)
WHERE orders.id = given.id AND orders.state = 'in_progress'
