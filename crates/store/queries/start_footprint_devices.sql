SELECT service_id, device FROM footprints WHERE service_id = ANY ($1)
