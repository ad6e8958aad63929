WITH fresh AS (
    DELETE FROM fresh_events
    WHERE id IN (
        -- Those that begin within the limit; together they may exceed it.
        SELECT id FROM (
            SELECT id, events, sum(events) OVER (ORDER BY id) AS up_to
            FROM (SELECT id, events FROM fresh_events ORDER BY id LIMIT $1) AS oldest
        ) AS counted
        WHERE up_to - events < $1
    )
    RETURNING id, events, ids, times
), log AS (
    UPDATE event_log SET numbered = numbered + counted.n
    FROM (SELECT sum(events) AS n FROM fresh) AS counted
    WHERE counted.n > 0
    RETURNING numbered - counted.n AS before
)
INSERT INTO event_cursors (cursor, id, at)
SELECT log.before + row_number() OVER (ORDER BY fresh.id, event.place), event.id, event.at
FROM log
CROSS JOIN fresh
CROSS JOIN LATERAL unnest(fresh.ids, fresh.times) WITH ORDINALITY AS event (id, at, place)
