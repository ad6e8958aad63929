SELECT at FROM event_cursors WHERE cursor = $1
