SELECT given.place, holder.pool, holder.scope, holder.value, holder.service_id, holder.orders, holder.since
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (pool, scope, place)
CROSS JOIN LATERAL (
    SELECT pool, scope, value, service_id, orders, since FROM resources
    WHERE resources.pool = given.pool AND resources.scope = given.scope
    ORDER BY resources.number LIMIT 5
) AS holder
ORDER BY given.place
