SELECT * FROM events
WHERE cursor > $1
  AND ($2::text IS NULL OR starts_with('dev.turnup.' || entity || '.' || what || '.v1', $2))
  AND ($3::text IS NULL OR entity || 's/' || entity_id = $3)
ORDER BY cursor
LIMIT $4
