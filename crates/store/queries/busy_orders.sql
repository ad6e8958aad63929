-- (Nothing is pulled up over OFFSET 0: one look-up each, whatever the statistics say.)
SELECT given.service_id, request.id
FROM unnest($1::uuid[]) AS given (service_id)
CROSS JOIN LATERAL (SELECT id FROM order_requests WHERE service_id = given.service_id OFFSET 0) AS request
CROSS JOIN LATERAL (SELECT state FROM orders WHERE orders.id = request.id OFFSET 0) AS orders
WHERE state IN ('requested', 'scheduled', 'in_progress')
ORDER BY request.id
