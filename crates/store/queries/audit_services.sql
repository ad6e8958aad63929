-- The part that was not looked at keeps what was known of it.
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::json[])
             AS given (id, order_id, sequence, at, state, config, reason, devices)
), changed AS (
    UPDATE services
    SET audit_state = CASE WHEN given.state = 'not_audited' THEN services.audit_state ELSE given.state END,
        config_audit = CASE WHEN given.config = 'not_audited' THEN services.config_audit ELSE given.config END,
        audited_at = given.at, audit_reason = given.reason, sequence = given.sequence
    FROM given
    WHERE services.id = given.id
    RETURNING services.id
)
INSERT INTO audits (service_id, order_id, at, state, config, reason, devices)
SELECT given.id, given.order_id, given.at, given.state, given.config, given.reason, given.devices
FROM given JOIN changed ON changed.id = given.id
ON CONFLICT (service_id) DO UPDATE
SET order_id = excluded.order_id, at = excluded.at, state = excluded.state, config = excluded.config,
    reason = excluded.reason, devices = excluded.devices
