SELECT given.place, devices.name
FROM unnest($1::text[], $2::int[], $3::text[]) WITH ORDINALITY AS given (address, port, name, place)
JOIN devices ON devices.address = given.address AND devices.port = given.port AND devices.name <> given.name
ORDER BY given.place, devices.created_at DESC, devices.name DESC
