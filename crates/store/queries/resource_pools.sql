SELECT pool, scope, count(*) AS taken FROM resources GROUP BY pool, scope ORDER BY pool, scope
