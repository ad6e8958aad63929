INSERT INTO platform_modules (platform, name, revision, digest)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bytea[]) AS given (name, revision, digest)
ORDER BY name COLLATE "C", revision COLLATE "C"
ON CONFLICT (platform, name, revision) DO UPDATE SET digest = excluded.digest
WHERE platform_modules.digest <> excluded.digest
