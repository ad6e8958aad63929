SELECT device, order_id, epoch FROM leases WHERE device = ANY ($1) ORDER BY device FOR NO KEY UPDATE SKIP LOCKED
