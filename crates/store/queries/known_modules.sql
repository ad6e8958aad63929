SELECT name, revision FROM platform_modules WHERE platform = $1 ORDER BY name, revision
