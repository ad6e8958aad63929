SELECT id, definition, definition_version, region, attributes, endpoints, devices, external_id, requester,
       created_at, state, audit_state, audited_at, audit_reason, last_order, updated_at,
       config_audit, coalesce(wanted_by, last_order) AS wanted_by, next_audit_at,
       (SELECT options->'secrets' FROM order_requests
        WHERE order_requests.id = coalesce(wanted_by, last_order)) AS secrets
FROM services WHERE id = $1
