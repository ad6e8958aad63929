INSERT INTO platform_versions (platform, version, updated_at) VALUES ($1, 1, $2)
ON CONFLICT (platform) DO UPDATE SET version = platform_versions.version + 1, updated_at = excluded.updated_at
