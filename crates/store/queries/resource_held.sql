-- The rows that have one of these values or numbers, kept from being given back until we are done.
WITH held AS MATERIALIZED (
    SELECT same.pool, same.scope, same.value
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS given (pool, scope, value, number)
    CROSS JOIN LATERAL (
        SELECT pool, scope, value FROM resources
        WHERE resources.pool = given.pool AND resources.scope = given.scope AND resources.value = given.value
        UNION
        SELECT pool, scope, value FROM resources
        WHERE resources.pool = given.pool AND resources.scope = given.scope AND resources.number = given.number
    ) AS same
)
SELECT pool, scope, value, number, service_id, orders FROM resources
WHERE (pool, scope, value) IN (SELECT pool, scope, value FROM held)
ORDER BY pool, scope, value
FOR NO KEY UPDATE
