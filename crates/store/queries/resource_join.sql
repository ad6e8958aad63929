UPDATE resources SET orders = resources.orders || ARRAY(SELECT json_array_elements_text(given.orders)::uuid)
FROM unnest($1::text[], $2::text[], $3::text[], $4::json[]) AS given (pool, scope, value, orders)
WHERE resources.pool = given.pool AND resources.scope = given.scope AND resources.value = given.value
