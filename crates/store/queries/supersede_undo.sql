UPDATE order_requests SET superseded_by = NULL WHERE id = ANY ($1)
