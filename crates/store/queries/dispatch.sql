WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::bytea[], $6::json[], $7::uuid[])
             AS given (id, region, priority, generation, message, footprints, order_id)
), deployed AS (
    INSERT INTO deployments (id, region, priority, generation, created_at, updated_at)
    SELECT id, region, priority, generation, $8, $8 FROM given
), dispatched AS (
    INSERT INTO dispatches (deployment_id, message, footprints) SELECT id, message, footprints FROM given
), linked AS (
    INSERT INTO deployment_orders (order_id, deployment_id) SELECT order_id, id FROM given
)
INSERT INTO outbox (deployment_id) SELECT id FROM given
