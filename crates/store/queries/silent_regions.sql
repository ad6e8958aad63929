SELECT DISTINCT region FROM deployments
WHERE state IN ('pending', 'running', 'in_doubt') AND updated_at < $1
