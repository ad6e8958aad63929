SELECT orders.id, kind, definition, definition_version, orders.service_id, region, attributes, endpoints, devices, priority,
       external_id, description, requester, derived_from, superseded_by, created_at, state, schedule_revision, scheduled_for,
       generation, retries, attempts, sequence, errors, updated_at, options
FROM orders
JOIN order_requests ON order_requests.id = orders.id
WHERE ($1::text[] IS NULL OR state = ANY ($1))
  AND ($2::text IS NULL OR kind = $2)
  -- What lies in several regions is found by each of them.
  AND ($3::text IS NULL OR region = $3 OR (region = 'multi' AND EXISTS (
          SELECT FROM devices WHERE devices.name = ANY (order_requests.devices) AND devices.region = $3)))
  AND ($4::text IS NULL OR orders.id = ANY (ARRAY(SELECT order_id FROM order_devices WHERE device = $4)))
  AND ($5::text IS NULL OR definition = $5)
  AND ($6::uuid IS NULL OR order_requests.service_id = $6)
  AND ($7::text IS NULL OR external_id = $7)
  AND ($8::timestamptz IS NULL OR created_at > $8)
  AND ($9::timestamptz IS NULL OR created_at < $9)
  AND ($10::uuid IS NULL OR orders.id < $10)
  AND ($12::text IS NULL OR options->>'undoes' = $12)
ORDER BY orders.id DESC
LIMIT $11
