SELECT DISTINCT region FROM devices ORDER BY region
