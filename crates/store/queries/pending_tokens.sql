-- By the recorder, over devices whose deployment has ended. A device keeps its newest eight tokens.
UPDATE leases
SET pending_tokens = nullif(kept.tokens[greatest(1, cardinality(kept.tokens) - 7):], '{}')
FROM unnest($1::text[], $2::uuid[], $3::bool[]) AS given (device, token, cleared)
JOIN leases AS before ON before.device = given.device
CROSS JOIN LATERAL (
    SELECT CASE WHEN given.cleared THEN '{}' ELSE coalesce(before.pending_tokens, '{}') END
           || CASE WHEN given.token IS NULL THEN '{}' ELSE ARRAY[given.token] END AS tokens
) AS kept
WHERE leases.device = given.device
