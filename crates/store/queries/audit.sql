SELECT order_id, at, state, config, reason, devices FROM audits WHERE service_id = $1
