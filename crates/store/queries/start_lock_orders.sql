SELECT orders.*, (SELECT min(ticket) FROM lease_waits WHERE lease_waits.order_id = orders.id) AS ticket
FROM orders
JOIN (SELECT DISTINCT * FROM unnest($1::uuid[], $2::int[])) AS given (id, revision)
  ON orders.id = given.id AND orders.schedule_revision = given.revision
WHERE orders.state = 'scheduled'
ORDER BY orders.id
FOR UPDATE OF orders
