-- What workers and devices said to each other, per attempt of a deployment: for people, for a while.
CREATE TABLE transcripts (
    deployment_id uuid NOT NULL,
    attempt       integer NOT NULL,
    device        text COLLATE "C" NOT NULL,
    worker        text NOT NULL,
    at            timestamptz NOT NULL,
    left_out      integer NOT NULL,
    -- Its own text, never searched: json keeps it as it came, and a long one is stored compressed.
    exchanges     json NOT NULL,
    PRIMARY KEY (deployment_id, attempt, device)
);
-- As rows come in the order of their times, a few bytes tell which pages are old.
CREATE INDEX transcripts_at ON transcripts USING brin (at) WITH (autosummarize = on);

-- The doubt that was made known last, by its in_doubt_since: each is told once.
ALTER TABLE deployments ADD COLUMN doubt_told timestamptz;
