UPDATE services
SET state = given.state, last_order = given.order_id, sequence = given.sequence, updated_at = $5,
    -- What was audited is not what is there now.
    audit_state = CASE WHEN given.state = 'deployed' THEN 'not_audited' ELSE audit_state END,
    config_audit = CASE WHEN given.state = 'deployed' THEN 'not_audited' ELSE config_audit END,
    audit_reason = CASE WHEN given.state = 'deployed' THEN NULL ELSE audit_reason END
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[]) AS given (id, state, order_id, sequence)
WHERE services.id = given.id
