INSERT INTO outbox (order_id, revision, due, not_before)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[])
