SELECT * FROM services
WHERE ($1::text IS NULL OR state = $1)
  AND ($2::text IS NULL OR definition = $2)
  AND ($3::text IS NULL OR region = $3)
  AND ($4::text IS NULL OR $4 = ANY (devices))
  AND ($5::uuid IS NULL OR id < $5)
ORDER BY id DESC
LIMIT $6
