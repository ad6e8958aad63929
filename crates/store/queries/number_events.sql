WITH fresh AS MATERIALIZED (
    SELECT id, at, row_number() OVER (ORDER BY id) AS place
    FROM (SELECT id, at FROM events WHERE cursor IS NULL ORDER BY id LIMIT $1) AS first
), counted AS (
    SELECT count(*) AS n FROM fresh
), log AS (
    UPDATE event_log SET numbered = numbered + counted.n
    FROM counted
    WHERE counted.n > 0
    RETURNING numbered - counted.n AS before
)
UPDATE events
SET cursor = log.before + fresh.place
FROM fresh, log
WHERE events.id = fresh.id AND events.at = fresh.at AND events.cursor IS NULL
