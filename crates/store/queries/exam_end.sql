-- $3: nothing of the exam is left. $4: the tokens of earlier deployments were cancelled.
UPDATE leases
SET order_id = NULL, since = NULL, exam_until = NULL,
    pending_tokens = nullif(
        CASE WHEN $4 THEN CASE WHEN $3 THEN '{}'::uuid[] ELSE ARRAY[$2::uuid] END
             WHEN $3 THEN array_remove(pending_tokens, $2::uuid)
             ELSE pending_tokens END, '{}')
WHERE device = $1 AND order_id = $2
RETURNING device
