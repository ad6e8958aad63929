-- Plans and a service's whole life: resources from pools, nodes held jointly, audits, published
-- definitions, plans shown before, YANG modules.

-- What the order carries beside its content: the approved plan, what to audit, the values of pools.
ALTER TABLE order_requests ADD COLUMN options json NOT NULL DEFAULT '{}';
-- Devices that it leases beside those it names: where its service has configuration now.
ALTER TABLE orders ADD COLUMN more_devices text[] COLLATE "C";

-- The order whose attributes are in force; none where a role of the release before made the service.
ALTER TABLE services ADD COLUMN wanted_by uuid;
UPDATE services SET wanted_by = (
    SELECT orders.id FROM order_requests JOIN orders ON orders.id = order_requests.id
    WHERE order_requests.service_id = services.id AND orders.kind = 'provision' AND orders.state = 'completed'
    LIMIT 1);
ALTER TABLE services ADD COLUMN config_audit text NOT NULL DEFAULT 'not_audited'
    CHECK (config_audit IN ('not_audited', 'in_sync', 'drifted', 'unreachable'));
ALTER TABLE services ADD COLUMN next_audit_at timestamptz;
CREATE INDEX services_next_audit ON services (definition, next_audit_at);

-- What is in force on the device: the footprint ('new' and 'old' say which one an attempt has left),
-- or it is not known. A footprint of JSON null: nothing of it is in force, but an attempt may have left
-- something. `strays` are the footprints of failed attempts that may be on the device.
ALTER TABLE footprints ADD COLUMN in_force text NOT NULL DEFAULT 'new' CHECK (in_force IN ('old', 'new', 'unknown'));
ALTER TABLE footprints ADD COLUMN strays json NOT NULL DEFAULT '[]';

-- Which services hold a node jointly, and the value each wants in it. Whoever leaves last removes it.
CREATE TABLE shared_nodes (
    device     text COLLATE "C" NOT NULL,
    node       text COLLATE "C" NOT NULL,
    service_id uuid NOT NULL,
    value      text,
    PRIMARY KEY (device, node, service_id)
);
CREATE INDEX shared_nodes_service ON shared_nodes (service_id);

-- Values taken from pools: each by one service, for as long as one of these orders needs it.
CREATE TABLE resources (
    pool       text COLLATE "C" NOT NULL,
    scope      text COLLATE "C" NOT NULL,
    value      text COLLATE "C" NOT NULL,
    -- What the pool counts by; none for a value that is given by hand and not of its form.
    number     bigint,
    service_id uuid NOT NULL,
    orders     uuid[] NOT NULL CHECK (cardinality(orders) > 0),
    since      timestamptz NOT NULL,
    PRIMARY KEY (pool, scope, value)
);
CREATE UNIQUE INDEX resources_number ON resources (pool, scope, number) WHERE number IS NOT NULL;
CREATE INDEX resources_service ON resources (service_id);
-- Where the search for the next free number begins. Whoever takes a value of (pool, scope) holds this row.
CREATE TABLE resource_cursors (
    pool  text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    next  bigint,
    PRIMARY KEY (pool, scope)
) WITH (fillfactor = 50);
ALTER TABLE resource_cursors SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- The last audit of each service.
CREATE TABLE audits (
    service_id uuid PRIMARY KEY,
    order_id   uuid NOT NULL,
    at         timestamptz NOT NULL,
    state      text NOT NULL CHECK (state IN ('not_audited', 'up', 'down')),
    config     text NOT NULL CHECK (config IN ('not_audited', 'in_sync', 'drifted', 'unreachable')),
    reason     text,
    devices    json NOT NULL
);

-- Published versions of service definitions. They never change, as services were deployed from them.
CREATE TABLE definitions (
    seq          bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    name         text COLLATE "C" NOT NULL,
    version      integer NOT NULL CHECK (version > 0),
    title        text NOT NULL,
    files        json NOT NULL,
    digest       bytea NOT NULL CHECK (length(digest) = 32),
    published_at timestamptz NOT NULL,
    published_by text NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of % never changes; publish another version', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER definitions_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON definitions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Plans that were shown, by their hash: what an approval meant can be shown again.
CREATE TABLE plans (
    hash    text COLLATE "C" PRIMARY KEY,
    plan    json NOT NULL,
    made_at timestamptz NOT NULL
);
CREATE INDEX plans_made_at ON plans (made_at);

-- Texts of YANG modules, and which of them each platform has; no revision is ''.
CREATE TABLE yang_modules (
    name     text COLLATE "C" NOT NULL,
    revision text COLLATE "C" NOT NULL,
    digest   bytea NOT NULL CHECK (length(digest) = 32),
    text     text NOT NULL,
    PRIMARY KEY (name, revision, digest)
);
CREATE TABLE platform_modules (
    platform text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    revision text COLLATE "C" NOT NULL,
    digest   bytea NOT NULL,
    PRIMARY KEY (platform, name, revision),
    FOREIGN KEY (name, revision, digest) REFERENCES yang_modules
);
-- Rises with every change of a platform's modules.
CREATE TABLE platform_versions (
    platform   text COLLATE "C" PRIMARY KEY,
    version    bigint NOT NULL,
    updated_at timestamptz NOT NULL
);

-- What the last check of each device found.
CREATE TABLE device_checks (
    device text COLLATE "C" PRIMARY KEY,
    at     timestamptz NOT NULL,
    worker text NOT NULL,
    result json NOT NULL
);
