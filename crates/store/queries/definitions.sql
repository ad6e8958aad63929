SELECT name, version, title, published_at, published_by FROM definitions ORDER BY name, version
