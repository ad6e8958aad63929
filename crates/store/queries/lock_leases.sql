SELECT device, order_id, epoch, pending_tokens FROM leases WHERE device = ANY ($1) ORDER BY device FOR NO KEY UPDATE
