SELECT * FROM orders
WHERE ($1::text[] IS NULL OR state = ANY ($1))
  AND ($2::text IS NULL OR kind = $2)
  AND ($3::text IS NULL OR region = $3)
  AND ($4::text IS NULL OR $4 = ANY (devices))
  AND ($5::text IS NULL OR definition = $5)
  AND ($6::uuid IS NULL OR service_id = $6)
  AND ($7::text IS NULL OR external_id = $7)
  AND ($8::timestamptz IS NULL OR created_at > $8)
  AND ($9::timestamptz IS NULL OR created_at < $9)
  AND ($10::uuid IS NULL OR id < $10)
ORDER BY id DESC
LIMIT $11
