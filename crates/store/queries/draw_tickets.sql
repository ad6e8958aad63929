SELECT nextval('lease_tickets') FROM generate_series(1, $1::bigint)
