SELECT id, state, definition, definition_version, attributes, endpoints, devices, region, external_id,
       coalesce(wanted_by, last_order) AS wanted_by, sequence
FROM services WHERE id = ANY ($1)
