WITH locked AS MATERIALIZED (
    SELECT device FROM leases
    WHERE device IN (SELECT device FROM lease_waits WHERE order_id = $1)
    ORDER BY device FOR NO KEY UPDATE
)
DELETE FROM lease_waits WHERE order_id = $1 AND device IN (SELECT device FROM locked) RETURNING device
