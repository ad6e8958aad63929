DELETE FROM ignored_modules WHERE platform = $1 AND name = ANY ($2)
