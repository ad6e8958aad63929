SELECT orders.id, orders.kind, order_requests.definition, orders.service_id, order_requests.region,
       order_requests.external_id, order_requests.requester, orders.state, orders.sequence, order_requests.options,
       services.state AS service_state, services.sequence AS service_sequence,
       -- A service that is created again goes on counting where it was removed.
       CASE WHEN orders.kind = 'provision' AND order_requests.options->>'undoes' IS NOT NULL THEN coalesce(
           (SELECT max(events.sequence) FROM events
            WHERE events.entity_id = orders.service_id::text AND events.entity = 'service'), 0)
       ELSE 0 END AS earlier_events,
       orders.schedule_revision, orders.generation, orders.retries, orders.began_at, definitions.retry
FROM orders
JOIN order_requests ON order_requests.id = orders.id
LEFT JOIN services ON services.id = orders.service_id
LEFT JOIN definitions ON definitions.name = order_requests.definition
                     AND definitions.version = order_requests.definition_version
WHERE orders.id IN (SELECT order_id FROM deployment_orders WHERE deployment_id = ANY ($1))
ORDER BY orders.id
FOR NO KEY UPDATE OF orders
