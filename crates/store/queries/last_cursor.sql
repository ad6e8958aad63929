SELECT numbered FROM event_log
