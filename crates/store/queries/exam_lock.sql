SELECT order_id, epoch, pending_tokens, exam_until FROM leases WHERE device = $1 FOR NO KEY UPDATE
