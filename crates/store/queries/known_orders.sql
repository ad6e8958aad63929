SELECT place, orders.id, orders.digest
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS given (requester, key, external_id, place)
CROSS JOIN LATERAL (
    SELECT id, digest FROM orders
    WHERE (orders.requester = given.requester AND orders.idempotency_key = given.key)
       OR (orders.requester = given.requester AND orders.external_id = given.external_id)
    ORDER BY (orders.idempotency_key = given.key) DESC NULLS LAST
    LIMIT 1
) AS orders
