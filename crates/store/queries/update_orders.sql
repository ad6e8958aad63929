UPDATE orders
SET state = given.state, generation = given.generation, sequence = given.sequence, errors = given.errors, updated_at = $6,
    began_at = CASE WHEN orders.retries = 0 THEN $6 ELSE orders.began_at END,
    more_devices = CASE WHEN given.more IS NULL THEN NULL ELSE ARRAY(SELECT json_array_elements_text(given.more)) END
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::jsonb[], $7::json[])
     AS given (id, state, generation, sequence, errors, more)
WHERE orders.id = given.id AND orders.state = 'scheduled'
