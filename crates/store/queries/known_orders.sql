SELECT place, known.id, known.digest
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) WITH ORDINALITY AS given (requester, key, external_id, id, place)
CROSS JOIN LATERAL (
    SELECT order_requests.id, digest, 1 AS rank FROM order_requests WHERE order_requests.id = given.id
    UNION ALL
    SELECT order_requests.id, digest, 2 FROM order_requests
    WHERE order_requests.requester = given.requester AND order_requests.idempotency_key = given.key
    UNION ALL
    SELECT order_requests.id, digest, 3 FROM order_requests
    WHERE order_requests.requester = given.requester AND order_requests.external_id = given.external_id
    ORDER BY rank LIMIT 1
) AS known
