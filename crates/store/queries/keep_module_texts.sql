INSERT INTO yang_modules (name, revision, digest, text)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) AS given (name, revision, digest, text)
ORDER BY name COLLATE "C", revision COLLATE "C", digest
ON CONFLICT DO NOTHING
