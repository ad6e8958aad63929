INSERT INTO ignored_modules (platform, name, by, at)
SELECT $1, name, $3, $4 FROM unnest($2::text[]) AS given (name) ORDER BY name COLLATE "C"
ON CONFLICT DO NOTHING
