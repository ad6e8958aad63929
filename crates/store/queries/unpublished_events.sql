SELECT events.* FROM events
WHERE cursor > (SELECT published FROM event_log)
ORDER BY cursor
LIMIT $1
