-- What is decided about parts that have answered: their next stage, which no message of the one before may
-- take over. It is sent like every deployment.
WITH staged AS (
    UPDATE deployments
    SET stage = given.stage, reasons = given.reasons, state = 'pending', attempt = attempt + 1,
        first_attempt = attempt + 1, sequence = 0, confirm_by = NULL, in_doubt_since = NULL, updated_at = $4
    FROM unnest($1::uuid[], $2::text[], $3::json[]) AS given (id, stage, reasons)
    WHERE deployments.id = given.id AND deployments.state NOT IN ('pending', 'running', 'in_doubt')
    RETURNING deployments.id
)
INSERT INTO outbox (deployment_id) SELECT id FROM staged
