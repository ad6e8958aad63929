SELECT quote_ident(child.relname)
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent IN ('events'::regclass, 'event_cursors'::regclass)
  AND child.relname ~ '_[0-9]{4}_[0-9]{2}$'
  AND to_date(right(child.relname, 7), 'YYYY_MM') + interval '1 month'
      <= date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $1)
ORDER BY child.relname
