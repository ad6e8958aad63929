SELECT outbox.id, outbox.order_id, outbox.revision, outbox.due, outbox.deployment_id, outbox.again,
       deployments.region, deployments.priority, deployments.stage, deployments.first_attempt, dispatches.message
FROM (
    SELECT id, order_id, revision, due, deployment_id, again FROM outbox
    WHERE id > $1 AND not_before IS NULL ORDER BY id LIMIT $2
) AS outbox
LEFT JOIN deployments ON deployments.id = outbox.deployment_id
LEFT JOIN dispatches ON dispatches.deployment_id = outbox.deployment_id
ORDER BY outbox.id
