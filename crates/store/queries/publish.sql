INSERT INTO definitions (name, version, title, files, digest, published_at, published_by)
SELECT name, version, title, files, digest, $6, $7
FROM unnest($1::text[], $2::int[], $3::text[], $4::json[], $5::bytea[]) WITH ORDINALITY
     AS given (name, version, title, files, digest, place)
ORDER BY place
ON CONFLICT (name, version) DO NOTHING
RETURNING name, version
