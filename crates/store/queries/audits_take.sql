-- Only those whose turn it still is: another one who takes them at the same time goes without.
WITH every AS (
    SELECT * FROM unnest($2::text[], $3::float8[]) AS given (definition, every_s)
), locked AS MATERIALIZED (
    SELECT id FROM services WHERE id = ANY ($1) AND next_audit_at <= $4
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE services
SET next_audit_at = $4::timestamptz + make_interval(secs => every.every_s)
    * (0.9 + 0.2 * ((hashtextextended(services.id::text || $4::timestamptz, 0) & 65535) / 65536.0))
FROM locked, every
WHERE services.id = locked.id AND services.definition = every.definition
RETURNING services.id, services.definition, definition_version, region, attributes, endpoints, devices, external_id,
          requester, created_at, state, audit_state, audited_at, audit_reason, last_order, updated_at,
          config_audit, coalesce(wanted_by, last_order) AS wanted_by, next_audit_at,
       (SELECT options->'secrets' FROM order_requests
        WHERE order_requests.id = coalesce(wanted_by, last_order)) AS secrets
