UPDATE event_log SET published = greatest(published, $1)
