UPDATE leases SET order_id = NULL, since = NULL WHERE device = ANY ($1) AND order_id = ANY ($2)
