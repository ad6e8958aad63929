UPDATE deployments
SET state = given.state, sequence = given.sequence, phase = given.phase, worker = given.worker,
    devices = given.devices, in_doubt_since = given.in_doubt_since, confirm_by = given.confirm_by, updated_at = $8
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::json[], $7::timestamptz[], $9::timestamptz[])
     AS given (id, state, sequence, phase, worker, devices, in_doubt_since, confirm_by)
WHERE deployments.id = given.id
