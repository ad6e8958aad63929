SELECT service_id, device, footprint, in_force, strays FROM footprints WHERE service_id = ANY ($1)
