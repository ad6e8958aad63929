-- Not by a message of a stage that is over.
UPDATE deployments
SET attempt = attempt + 1, sequence = 0, worker = $2, updated_at = now()
WHERE id = $1 AND first_attempt <= $3 AND state IN ('pending', 'running', 'in_doubt')
RETURNING attempt
