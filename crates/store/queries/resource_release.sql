-- Drops from what these services hold the orders that have ended, unless they are in force, and those of
-- $2; what no order needs any more is free. An order that is not seen yet is of somebody who has joined
-- while we waited for the row: it stays. Whoever ends an order says this afterwards, in the same
-- transaction.
WITH held AS MATERIALIZED (
    SELECT pool, scope, value, service_id, orders FROM resources
    WHERE service_id = ANY ($1)
    ORDER BY pool, scope, value
    FOR UPDATE
), kept AS MATERIALIZED (
    SELECT pool, scope, value, ARRAY(
        SELECT claim FROM unnest(held.orders) AS claim
        WHERE claim <> ALL ($2)
          AND (coalesce((SELECT state FROM orders WHERE orders.id = claim), '')
                   NOT IN ('completed', 'invalid', 'cancelled')
               OR coalesce((SELECT coalesce(wanted_by, last_order) = claim FROM services
                            WHERE services.id = held.service_id), false))
    ) AS orders
    FROM held
), freed AS (
    DELETE FROM resources USING kept
    WHERE kept.orders = '{}' AND resources.pool = kept.pool AND resources.scope = kept.scope
      AND resources.value = kept.value
)
UPDATE resources SET orders = kept.orders
FROM kept
WHERE kept.orders <> '{}' AND kept.orders <> resources.orders AND resources.pool = kept.pool
  AND resources.scope = kept.scope AND resources.value = kept.value
