SELECT given.device, first.ticket, first.order_id
FROM unnest($1::text[]) AS given (device)
CROSS JOIN LATERAL (
    SELECT ticket, order_id FROM lease_waits WHERE lease_waits.device = given.device ORDER BY ticket LIMIT $2
) AS first
