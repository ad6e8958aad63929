SELECT attempt FROM deployments
WHERE id = $1 AND attempt = $2 AND state IN ('pending', 'running', 'in_doubt')
