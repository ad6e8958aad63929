-- Commits that may be pending.

-- `persist` tokens (RFC 6241 §8.4) of deployments that ended without its being known what became of their commit: the
-- next deployment at the device cancels them before anything else.
ALTER TABLE leases ADD COLUMN pending_tokens uuid[];
