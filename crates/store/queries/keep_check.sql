INSERT INTO device_checks (device, at, worker, result)
SELECT name, $2, $3, $4 FROM devices WHERE name = $1
ON CONFLICT (device) DO UPDATE SET at = excluded.at, worker = excluded.worker, result = excluded.result
WHERE device_checks.at <= excluded.at
