SELECT (SELECT count(*) FROM footprints WHERE device = $1)
     + (SELECT count(*) FROM orders WHERE state IN ('requested', 'scheduled', 'in_progress', 'failed_deploy') AND $1 = ANY (devices))
