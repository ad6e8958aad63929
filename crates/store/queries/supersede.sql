UPDATE order_requests SET superseded_by = given.by
FROM unnest($1::uuid[], $2::uuid[]) AS given (id, by)
WHERE order_requests.id = given.id AND order_requests.superseded_by IS NULL
