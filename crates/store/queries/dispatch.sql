-- $8, $9: every order and its deployment.
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::bytea[], $6::json[], $10::uuid[], $11::text[])
             AS given (id, region, priority, generation, message, footprints, transaction_id, stage)
), deployed AS (
    INSERT INTO deployments (id, region, priority, generation, created_at, updated_at, transaction_id, stage)
    SELECT id, region, priority, generation, $7, $7, transaction_id, stage FROM given
), dispatched AS (
    INSERT INTO dispatches (deployment_id, message, footprints) SELECT id, message, footprints FROM given
), linked AS (
    INSERT INTO deployment_orders (order_id, deployment_id)
    SELECT * FROM unnest($8::uuid[], $9::uuid[])
)
INSERT INTO outbox (deployment_id) SELECT id FROM given
