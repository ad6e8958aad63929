DELETE FROM owned_nodes WHERE service_id = ANY ($1)
