DO $$
DECLARE
    first date;
BEGIN
    PERFORM pg_advisory_xact_lock(8391171955262980098);
    FOR month IN 0..2 LOOP
        first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => month))::date;
        IF to_regclass('events_' || to_char(first, 'YYYY_MM')) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
                'events_' || to_char(first, 'YYYY_MM'),
                first::timestamp AT TIME ZONE 'UTC',
                (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
        END IF;
    END LOOP;
END
$$
