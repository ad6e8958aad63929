-- A first time for services that have none, spread over a period by their id; those that are older than
-- a period are spread from now on. A time that is further away than the period allows is of a longer one.
WITH given AS (
    SELECT definition, make_interval(secs => every_s) AS every
    FROM unnest($1::text[], $2::float8[]) AS given (definition, every_s)
), timeless AS (
    SELECT services.id, given.every, services.created_at
    FROM given
    CROSS JOIN LATERAL (
        (SELECT id, created_at FROM services
         WHERE services.definition = given.definition AND next_audit_at IS NULL LIMIT $4)
        UNION ALL
        (SELECT id, created_at FROM services
         WHERE services.definition = given.definition AND next_audit_at > $3::timestamptz + given.every * 1.2 LIMIT $4)
    ) AS services
), locked AS MATERIALIZED (
    SELECT services.id, timeless.every, timeless.created_at
    FROM timeless JOIN services ON services.id = timeless.id
    ORDER BY services.id
    FOR NO KEY UPDATE OF services SKIP LOCKED
)
UPDATE services
SET next_audit_at = CASE WHEN locked.created_at + locked.every > $3 THEN locked.created_at ELSE $3 END
    + locked.every * ((hashtextextended(services.id::text, 0) & 65535) / 65536.0)
FROM locked
WHERE services.id = locked.id
