DELETE FROM shared_nodes WHERE service_id = ANY ($1)
