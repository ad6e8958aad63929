-- Of those in front who are not of the batch, the first of each device. (The array by a sub-select,
-- as the planner else estimates by each of its elements.)
SELECT device, ticket, order_id FROM lease_waits WHERE order_id = ANY ($2)
UNION ALL
SELECT given.device, first.ticket, first.order_id
FROM unnest($1::text[]) AS given (device)
CROSS JOIN LATERAL (
    SELECT ticket, order_id FROM lease_waits
    WHERE lease_waits.device = given.device AND order_id <> ALL (ARRAY(SELECT unnest($2::uuid[])))
    ORDER BY ticket LIMIT 1
) AS first
