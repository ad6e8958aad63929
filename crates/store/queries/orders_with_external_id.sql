SELECT id FROM order_requests WHERE external_id = $1 AND superseded_by IS NULL ORDER BY id DESC LIMIT $2
