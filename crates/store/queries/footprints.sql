SELECT device, footprint FROM footprints WHERE service_id = $1 ORDER BY device
