SELECT state, count(*) FROM orders GROUP BY state ORDER BY state
