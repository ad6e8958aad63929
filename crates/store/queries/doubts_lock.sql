SELECT id, attempt, phase, worker, devices, in_doubt_since FROM deployments
WHERE state = 'in_doubt' AND in_doubt_since < $1 AND doubt_told IS DISTINCT FROM in_doubt_since
ORDER BY id
LIMIT $2
FOR NO KEY UPDATE
