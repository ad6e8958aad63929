SELECT name, by, at FROM ignored_modules WHERE platform = $1 ORDER BY name
