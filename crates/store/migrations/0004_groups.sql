-- Orders of one deployment can end differently: each in force everywhere or nowhere.
ALTER TABLE deployments DROP CONSTRAINT deployments_state_check;
ALTER TABLE deployments ADD CONSTRAINT deployments_state_check CHECK (state IN
    ('pending', 'running', 'in_doubt', 'committed', 'rolled_back', 'rejected', 'partly', 'unresolved'));
