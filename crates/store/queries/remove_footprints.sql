DELETE FROM footprints WHERE service_id = ANY ($1)
