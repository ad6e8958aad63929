-- Orders over several regions: a deployment in each region, which are taken through stages together.

ALTER TABLE deployments DROP CONSTRAINT deployments_state_check;
ALTER TABLE deployments ADD CONSTRAINT deployments_state_check CHECK (state IN
    ('pending', 'running', 'in_doubt', 'prepared', 'confirmed',
     'committed', 'rolled_back', 'rejected', 'partly', 'unresolved'));
ALTER TABLE deployments
    -- The transaction that it is a part of: the id of the first part. None: it is all of its transaction.
    ADD COLUMN transaction_id uuid,
    ADD COLUMN stage text NOT NULL DEFAULT 'whole' CHECK (stage IN ('whole', 'prepare', 'confirm', 'undo')),
    -- The attempts from this one on are of this stage.
    ADD COLUMN first_attempt integer NOT NULL DEFAULT 1,
    -- Of a prepared part: until when confirming may begin.
    ADD COLUMN confirm_by timestamptz,
    -- Why it is undone.
    ADD COLUMN reasons json,
    ADD CONSTRAINT deployments_part CHECK (stage = 'whole' OR transaction_id IS NOT NULL);
CREATE INDEX deployments_transaction ON deployments (transaction_id) WHERE transaction_id IS NOT NULL;
