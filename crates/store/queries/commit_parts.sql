-- All parts of these transactions are confirmed: they have ended.
UPDATE deployments SET state = 'committed' WHERE transaction_id = ANY ($1) AND state = 'confirmed'
