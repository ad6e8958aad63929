SELECT event_cursors.cursor, event_id, entity, entity_id, sequence, what, events.at, region, definition, correlation_id, data
FROM events
JOIN event_cursors ON event_cursors.id = events.id AND event_cursors.at = events.at
WHERE entity = $3 AND entity_id = $4
  AND event_cursors.cursor > $1
  AND ($2::text IS NULL OR starts_with('dev.turnup.' || entity || '.' || what || '.v1', $2))
  AND ($6::timestamptz IS NULL OR events.at >= $6)
ORDER BY CASE WHEN $7 THEN -event_cursors.cursor ELSE event_cursors.cursor END
LIMIT $5
