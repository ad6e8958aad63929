SELECT seq, name, version, title, files, digest, published_at, published_by
FROM definitions
WHERE name = $1 AND ($2::int IS NULL OR version = $2)
ORDER BY version DESC LIMIT 1
