DELETE FROM device_checks WHERE device = $1
