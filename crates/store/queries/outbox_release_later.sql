WITH ready AS (
    DELETE FROM outbox
    WHERE id IN (SELECT id FROM outbox WHERE not_before <= $1 ORDER BY not_before LIMIT $2)
    RETURNING order_id, revision, due, deployment_id
)
INSERT INTO outbox (order_id, revision, due, deployment_id) SELECT order_id, revision, due, deployment_id FROM ready
