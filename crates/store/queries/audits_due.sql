-- The services whose turn it is, oldest first, of those that share their first device only the first.
SELECT id, devices
FROM (
    SELECT DISTINCT ON (due.devices[1]) due.id, due.devices, due.next_audit_at
    FROM unnest($1::text[]) AS given (definition)
    CROSS JOIN LATERAL (
        SELECT id, devices, next_audit_at FROM services
        WHERE services.definition = given.definition AND next_audit_at <= $2
          AND NOT EXISTS (
              SELECT FROM order_requests JOIN orders ON orders.id = order_requests.id
              WHERE order_requests.service_id = services.id AND orders.kind = 'validate'
                AND orders.state IN ('requested', 'scheduled', 'in_progress'))
        ORDER BY next_audit_at LIMIT 5000
    ) AS due
    ORDER BY due.devices[1], due.next_audit_at
) AS first
ORDER BY next_audit_at
LIMIT $3
