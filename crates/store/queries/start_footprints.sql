SELECT service_id, device, footprint FROM footprints WHERE service_id = ANY ($1)
