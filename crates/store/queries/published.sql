SELECT published FROM event_log
