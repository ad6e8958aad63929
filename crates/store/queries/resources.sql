SELECT pool, scope, value, service_id, orders, since FROM resources
WHERE ($1::text IS NULL OR pool = $1)
  AND ($2::text IS NULL OR scope = $2)
  AND ($3::uuid IS NULL OR service_id = $3)
  AND ($4::text IS NULL OR (pool, scope, value) > ($4, $5, $6))
ORDER BY pool, scope, value
LIMIT $7
