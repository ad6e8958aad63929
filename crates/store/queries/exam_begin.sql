-- The exam's token counts as pending before anything is sent. A device keeps its newest eight tokens.
UPDATE leases
SET order_id = $2, epoch = epoch + 1, since = $3, exam_until = $4,
    pending_tokens = (coalesce(pending_tokens, '{}') || $2::uuid)[greatest(1, cardinality(coalesce(pending_tokens, '{}')) - 6):]
WHERE device = $1
RETURNING epoch
