SELECT sequence, from_state, to_state, at, why, actor
FROM events
WHERE entity_id = $1 AND entity = 'order' AND to_state IS NOT NULL
ORDER BY sequence
