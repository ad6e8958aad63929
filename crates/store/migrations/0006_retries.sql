-- Orders that failed are tried again by themselves, as often as a policy says.

-- Attempts since somebody gave the order its time that nobody has asked for; how many attempts its policy allowed
-- when it was last tried again; when the first attempt of these began.
ALTER TABLE orders ADD COLUMN retries integer NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN attempts integer;
ALTER TABLE orders ADD COLUMN began_at timestamptz;

-- What a definition says about it; those published before say nothing.
ALTER TABLE definitions ADD COLUMN retry json NOT NULL DEFAULT '{}';
