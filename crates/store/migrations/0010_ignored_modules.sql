-- YANG modules that an operator has left out of a platform's set, by decision.
CREATE TABLE ignored_modules (
    platform text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    by       text NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (platform, name)
);
