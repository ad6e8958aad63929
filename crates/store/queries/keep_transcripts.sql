INSERT INTO transcripts (deployment_id, attempt, device, worker, at, left_out, exchanges)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::timestamptz[], $6::int[], $7::json[])
ON CONFLICT DO NOTHING
