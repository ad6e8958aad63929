WITH ready AS (
    DELETE FROM outbox
    USING (SELECT ctid FROM outbox WHERE not_before <= $1 ORDER BY not_before LIMIT $2) AS due
    WHERE outbox.ctid = due.ctid
    RETURNING outbox.order_id, outbox.revision, outbox.due, outbox.deployment_id
)
INSERT INTO outbox (order_id, revision, due, deployment_id, again)
SELECT order_id, revision, due, deployment_id, deployment_id IS NOT NULL FROM ready
