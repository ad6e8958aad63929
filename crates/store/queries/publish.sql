INSERT INTO definitions (name, version, title, files, digest, retry, published_at, published_by)
SELECT name, version, title, files, digest, retry, $6, $7
FROM unnest($1::text[], $2::int[], $3::text[], $4::json[], $5::bytea[], $8::json[]) WITH ORDINALITY
     AS given (name, version, title, files, digest, retry, place)
ORDER BY place
ON CONFLICT (name, version) DO NOTHING
RETURNING name, version
