UPDATE orders
SET state = given.state, generation = given.generation, sequence = given.sequence, errors = given.errors, updated_at = $6
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::jsonb[])
     AS given (id, state, generation, sequence, errors)
WHERE orders.id = given.id AND orders.state = 'scheduled'
