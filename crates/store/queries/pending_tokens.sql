-- By the recorder, over devices whose deployment has ended. A device keeps its newest eight tokens.
UPDATE leases
SET pending_tokens = nullif((CASE WHEN given.cleared THEN '{}' ELSE coalesce(leases.pending_tokens, '{}') END
                             || CASE WHEN given.token IS NULL THEN '{}' ELSE ARRAY[given.token] END)[
                                greatest(1, cardinality(coalesce(leases.pending_tokens, '{}')) - 6):], '{}')
FROM unnest($1::text[], $2::uuid[], $3::bool[]) AS given (device, token, cleared)
WHERE leases.device = given.device
