SELECT place, found.id, found.digest, found.rank, orders.state
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[]) WITH ORDINALITY
         AS given (requester, key, external_id, id, digest, place)
CROSS JOIN LATERAL (
    SELECT order_requests.id, order_requests.digest, 1 AS rank FROM order_requests WHERE order_requests.id = given.id
    UNION ALL
    SELECT order_requests.id, order_requests.digest, 2 FROM order_requests
    WHERE order_requests.requester = given.requester AND order_requests.idempotency_key = given.key
    UNION ALL
    -- A repetition of a request that was corrected meanwhile is still that one's.
    SELECT order_requests.id, order_requests.digest,
           CASE WHEN order_requests.digest = given.digest THEN 3 WHEN order_requests.superseded_by IS NULL THEN 4 ELSE 5 END
    FROM order_requests
    WHERE order_requests.requester = given.requester AND order_requests.external_id = given.external_id
    ORDER BY rank LIMIT 1
) AS found
JOIN orders ON orders.id = found.id
