UPDATE deployments
SET state = given.state, sequence = given.sequence, phase = given.phase, worker = given.worker,
    devices = given.devices, in_doubt_since = given.in_doubt_since, updated_at = $8
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::json[], $7::timestamptz[])
     AS given (id, state, sequence, phase, worker, devices, in_doubt_since)
WHERE deployments.id = given.id
