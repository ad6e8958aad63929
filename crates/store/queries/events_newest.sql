SELECT event_cursors.cursor, event.*
FROM event_cursors
-- One look-up per cursor, whatever the statistics say, so that reading on from the end is cheap.
CROSS JOIN LATERAL (
    SELECT event_id, entity, entity_id, sequence, what, at, region, definition, correlation_id, data
    FROM events
    WHERE events.id = event_cursors.id AND events.at = event_cursors.at
    OFFSET 0
) AS event
WHERE event_cursors.cursor > $1
  AND ($2::text IS NULL OR starts_with('dev.turnup.' || entity || '.' || what || '.v1', $2))
  AND ($4::timestamptz IS NULL OR event_cursors.at >= $4)
ORDER BY event_cursors.cursor DESC
LIMIT $3
