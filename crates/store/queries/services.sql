SELECT id, definition, definition_version, region, attributes, endpoints, devices, external_id, requester,
       created_at, state, audit_state, audited_at, audit_reason, last_order, updated_at,
       config_audit, coalesce(wanted_by, last_order) AS wanted_by, next_audit_at
FROM services
WHERE ($1::text IS NULL OR state = $1)
  AND ($2::text IS NULL OR definition = $2)
  -- What lies in several regions is found by each of them.
  AND ($3::text IS NULL OR region = $3 OR (region = 'multi' AND EXISTS (
          SELECT FROM devices WHERE devices.name = ANY (services.devices) AND devices.region = $3)))
  AND ($4::text IS NULL OR id = ANY (ARRAY(SELECT service_id FROM footprints WHERE device = $4)))
  AND ($5::uuid IS NULL OR id < $5)
  AND ($7::text IS NULL OR audit_state = $7)
  AND ($8::text IS NULL OR config_audit = $8)
  AND ($9::text IS NULL OR external_id = $9)
ORDER BY id DESC
LIMIT $6
