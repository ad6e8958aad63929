-- The orders that changed a service, in the order of their completion. Two orders of a service never run at once. The
-- clocks of two recorders may differ; the order whose content is in force is the last one whatever they say.
SELECT request.id, orders.kind, (request.options->>'undoes')::uuid AS undoes
FROM (SELECT id, options FROM order_requests WHERE service_id = $1 OFFSET 0) AS request
CROSS JOIN LATERAL (
    SELECT kind, state, updated_at FROM orders WHERE orders.id = request.id OFFSET 0
) AS orders
WHERE state = 'completed' AND kind IN ('provision', 'modify', 'decommission')
ORDER BY coalesce(request.id = (SELECT wanted_by FROM services WHERE services.id = $1), false),
         orders.updated_at, request.id
