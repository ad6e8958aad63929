INSERT INTO lease_waits (device, ticket, order_id) SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[])
