-- One number for each doubt: parts of one order may be in doubt at the same time.
UPDATE orders SET sequence = sequence + told.times
FROM (SELECT id, count(*)::int AS times FROM unnest($1::uuid[]) AS given (id) GROUP BY id) AS told
WHERE orders.id = told.id
