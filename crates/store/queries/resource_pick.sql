-- The next free numbers of each pool from its cursor on, and from the beginning again. The series stand
-- in SELECT lists and so are made as far as they are needed; the look-ups are no joins, so that no
-- statistics make the planner read all that is taken.
SELECT wanted.place, free.number
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[])
     WITH ORDINALITY AS wanted (pool, scope, first, last, next, count, prefix, suffix, place)
CROSS JOIN LATERAL (
    SELECT candidate.number
    FROM (
        SELECT generate_series(wanted.next, wanted.last) AS number
        UNION ALL
        SELECT generate_series(wanted.first, wanted.next - 1)
    ) AS candidate
    WHERE (SELECT resources.service_id FROM resources
           WHERE resources.pool = wanted.pool AND resources.scope = wanted.scope
             AND resources.number = candidate.number) IS NULL
      AND (SELECT resources.service_id FROM resources
           WHERE resources.pool = wanted.pool AND resources.scope = wanted.scope
             AND resources.value = wanted.prefix || candidate.number || wanted.suffix) IS NULL
    LIMIT wanted.count
) AS free
