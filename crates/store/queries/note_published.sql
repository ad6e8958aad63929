UPDATE event_log SET published = $1 WHERE published < $1
