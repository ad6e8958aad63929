-- From each of these orders to the last correction of it, which may be itself.
WITH RECURSIVE chain AS (
    SELECT id AS of, id, superseded_by, 0 AS depth FROM order_requests WHERE id = ANY ($1)
    UNION ALL
    SELECT chain.of, next.id, next.superseded_by, depth + 1
    FROM chain JOIN order_requests AS next ON next.id = chain.superseded_by
    WHERE depth < 1000
)
SELECT chain.of, chain.id, orders.state
FROM chain JOIN orders ON orders.id = chain.id
WHERE chain.superseded_by IS NULL
