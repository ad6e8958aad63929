-- Drops from what these services hold the orders that have ended, unless they are in force, and those of
-- $2; what no order needs any more is free. An order that is not seen yet is of somebody who has joined
-- while we waited for the row: it stays. Whoever ends an order says this afterwards, in the same
-- transaction.
WITH mine AS MATERIALIZED (
    SELECT held.pool, held.scope, held.value
    FROM unnest($1::uuid[]) AS given (service_id)
    CROSS JOIN LATERAL (
        SELECT pool, scope, value FROM resources WHERE resources.service_id = given.service_id OFFSET 0
    ) AS held
), held AS MATERIALIZED (
    -- Each by its key and in their order; the planner would rather walk through all that is taken.
    SELECT locked.pool, locked.scope, locked.value, locked.service_id, locked.orders
    FROM (SELECT DISTINCT pool, scope, value FROM mine ORDER BY pool, scope, value) AS mine
    CROSS JOIN LATERAL (
        SELECT pool, scope, value, service_id, orders FROM resources
        WHERE resources.pool = mine.pool AND resources.scope = mine.scope AND resources.value = mine.value
        FOR UPDATE
    ) AS locked
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
