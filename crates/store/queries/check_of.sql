SELECT device, at, worker, result FROM device_checks WHERE device = $1
