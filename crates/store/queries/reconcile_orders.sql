WITH owed AS (
    SELECT id, schedule_revision, scheduled_for FROM orders
    WHERE state = 'scheduled' AND scheduled_for < $1 AND id > $2
    ORDER BY id
    LIMIT $3
), sent AS (
    INSERT INTO outbox (order_id, revision, due)
    SELECT id, schedule_revision, scheduled_for FROM owed AS orders
    WHERE NOT EXISTS (SELECT FROM outbox WHERE coalesce(outbox.order_id, outbox.deployment_id) = orders.id
                      AND outbox.revision = orders.schedule_revision)
    RETURNING 1
)
SELECT (SELECT count(*) FROM sent) AS sent, (SELECT id FROM owed ORDER BY id DESC LIMIT 1) AS last
