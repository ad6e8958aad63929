SELECT device, footprint, in_force, strays FROM footprints WHERE service_id = $1 ORDER BY device
