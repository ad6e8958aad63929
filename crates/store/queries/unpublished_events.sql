SELECT event_cursors.cursor, event_id, entity, entity_id, sequence, what, events.at, region, definition, correlation_id, data
FROM event_cursors
JOIN events ON events.id = event_cursors.id AND events.at = event_cursors.at
WHERE event_cursors.cursor > $1
ORDER BY event_cursors.cursor
LIMIT $2
