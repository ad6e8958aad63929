SELECT event_cursors.cursor, event_id, entity, entity_id, sequence, what, events.at, region, definition, correlation_id, data
FROM event_cursors
JOIN events ON events.id = event_cursors.id AND events.at = event_cursors.at
WHERE event_cursors.cursor > $1
  AND ($2::text IS NULL OR starts_with('dev.turnup.' || entity || '.' || what || '.v1', $2))
  AND ($3::text IS NULL OR (entity_id = $4 AND entity = $3))
ORDER BY event_cursors.cursor
LIMIT $5
