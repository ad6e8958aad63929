DO $$
DECLARE
    parent text;
    child text;
    first timestamptz;
    until timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(8391171955262980098);
    FOREACH parent IN ARRAY ARRAY['events', 'event_cursors'] LOOP
        FOR month IN 0..2 LOOP
            first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => month)) AT TIME ZONE 'UTC';
            until := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => month + 1)) AT TIME ZONE 'UTC';
            child := parent || '_' || to_char(first AT TIME ZONE 'UTC', 'YYYY_MM');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
            -- What came for this month before it had its partition.
            EXECUTE format(
                'WITH moved AS (DELETE FROM %I WHERE at >= %L AND at < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
                parent || '_rest', first, until, child);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, first, until);
        END LOOP;
    END LOOP;
END
$$
