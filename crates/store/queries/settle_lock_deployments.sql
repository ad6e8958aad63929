SELECT id, state, attempt, sequence, in_doubt_since FROM deployments
WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE
