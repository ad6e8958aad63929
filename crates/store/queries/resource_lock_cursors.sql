-- One after the other in every (pool, scope), each transaction in the same order.
INSERT INTO resource_cursors (pool, scope)
SELECT pool, scope FROM unnest($1::text[], $2::text[]) AS given (pool, scope)
ORDER BY pool COLLATE "C", scope COLLATE "C"
ON CONFLICT (pool, scope) DO UPDATE SET next = resource_cursors.next
RETURNING pool, scope, next
