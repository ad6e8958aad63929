-- By the scheduler. The exam's token stays: the next deployment cancels what may be pending.
UPDATE leases
SET order_id = NULL, since = NULL, exam_until = NULL
WHERE device IN (SELECT device FROM leases WHERE exam_until < $1 ORDER BY device LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING device
