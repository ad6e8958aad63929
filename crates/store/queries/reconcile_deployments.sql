WITH owed AS (
    SELECT id FROM deployments
    WHERE state IN ('pending', 'running', 'in_doubt') AND id > $1
    ORDER BY id
    LIMIT $2
), sent AS (
    INSERT INTO outbox (deployment_id, again)
    SELECT id, true FROM owed
    WHERE NOT EXISTS (SELECT FROM outbox WHERE coalesce(outbox.order_id, outbox.deployment_id) = owed.id)
    RETURNING 1
)
SELECT (SELECT count(*) FROM sent) AS sent, (SELECT id FROM owed ORDER BY id DESC LIMIT 1) AS last
