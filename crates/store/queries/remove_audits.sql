DELETE FROM audits WHERE service_id = ANY ($1)
