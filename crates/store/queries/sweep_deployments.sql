WITH silent AS (
    SELECT id FROM deployments
    WHERE state IN ('pending', 'running', 'in_doubt') AND updated_at < $1 AND ($2::text[] IS NULL OR region = ANY ($2))
      AND NOT EXISTS (SELECT FROM outbox WHERE coalesce(outbox.order_id, outbox.deployment_id) = deployments.id)
    ORDER BY updated_at
    LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
), swept AS (
    UPDATE deployments SET updated_at = $4 FROM silent WHERE deployments.id = silent.id RETURNING deployments.id
)
INSERT INTO outbox (deployment_id, again) SELECT id, true FROM swept
