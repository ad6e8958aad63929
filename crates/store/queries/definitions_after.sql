SELECT seq, name, version, title, files, digest, published_at, published_by
FROM definitions WHERE seq > $1 ORDER BY seq LIMIT 100
