SELECT name, version, digest FROM definitions
WHERE (name, version) IN (SELECT * FROM unnest($1::text[], $2::int[]))
