INSERT INTO resources (pool, scope, value, number, service_id, orders, since)
SELECT pool, scope, value, number, service_id, ARRAY(SELECT json_array_elements_text(orders)::uuid), $7
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::json[])
     AS given (pool, scope, value, number, service_id, orders)
