UPDATE resource_cursors SET next = given.next
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (pool, scope, next)
WHERE resource_cursors.pool = given.pool AND resource_cursors.scope = given.scope
