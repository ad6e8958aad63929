-- Orders, services, devices, leases, deployments, the outbox and the event log.

-- Names are compared by their bytes (COLLATE "C"): the same order everywhere, and the cheapest.

-- Where a service order is. Kept narrow, as this is what moves.
CREATE TABLE orders (
    id                uuid PRIMARY KEY,
    kind              text NOT NULL CHECK (kind IN ('provision', 'modify', 'redeploy', 'validate', 'decommission')),
    service_id        uuid NOT NULL,
    state             text NOT NULL,
    schedule_revision integer NOT NULL DEFAULT 0,
    scheduled_for     timestamptz,
    generation        integer NOT NULL DEFAULT 0,
    sequence          integer NOT NULL CHECK (sequence > 0),
    errors            jsonb NOT NULL DEFAULT '[]',
    -- When the backstop last sent its message again.
    swept_at          timestamptz,
    updated_at        timestamptz NOT NULL,
    CONSTRAINT orders_state CHECK (state IN
        ('requested', 'scheduled', 'in_progress', 'completed', 'invalid', 'failed_deploy', 'cancelled')),
    CONSTRAINT orders_scheduled_has_time CHECK (state <> 'scheduled' OR scheduled_for IS NOT NULL),
    CONSTRAINT orders_started_has_generation CHECK
        (state NOT IN ('in_progress', 'completed', 'invalid', 'failed_deploy') OR generation > 0),
    CONSTRAINT orders_failed_has_reason CHECK
        (state NOT IN ('invalid', 'failed_deploy') OR errors <> '[]')
);
-- The second condition keeps the planner from reading all scheduled orders for a statement that has
-- `state = 'scheduled'` only as its guard.
CREATE INDEX orders_scheduled ON orders (scheduled_for) WHERE state = 'scheduled' AND scheduled_for IS NOT NULL;
CREATE INDEX orders_unfinished ON orders (state, id) WHERE state NOT IN ('completed', 'scheduled');

-- What the order asks for. Written once, so that its indexes cost nothing when the order moves.
CREATE TABLE order_requests (
    id                 uuid PRIMARY KEY,
    definition         text NOT NULL,
    definition_version integer NOT NULL,
    service_id         uuid NOT NULL,
    region             text NOT NULL,
    attributes         json NOT NULL,
    endpoints          json NOT NULL,
    devices            text[] COLLATE "C" NOT NULL CHECK (cardinality(devices) > 0),
    priority           text NOT NULL CHECK (priority IN ('urgent', 'normal', 'bulk')),
    external_id        text COLLATE "C",
    description        text,
    requester          text COLLATE "C" NOT NULL,
    idempotency_key    text COLLATE "C",
    digest             bytea NOT NULL CHECK (length(digest) = 32),
    derived_from       uuid REFERENCES order_requests (id),
    created_at         timestamptz NOT NULL
);
CREATE UNIQUE INDEX order_requests_idempotency_key ON order_requests (requester, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX order_requests_external_id ON order_requests (external_id, requester) WHERE external_id IS NOT NULL;
CREATE INDEX order_requests_service ON order_requests (service_id);

-- Which orders touch a device. Written once.
CREATE TABLE order_devices (
    device   text COLLATE "C" NOT NULL,
    order_id uuid NOT NULL,
    PRIMARY KEY (device, order_id)
);

-- What a completed provision order leaves in the network.
CREATE TABLE services (
    id                 uuid PRIMARY KEY,
    definition         text NOT NULL,
    definition_version integer NOT NULL,
    region             text NOT NULL,
    attributes         json NOT NULL,
    endpoints          json NOT NULL,
    devices            text[] COLLATE "C" NOT NULL,
    external_id        text,
    requester          text NOT NULL,
    created_at         timestamptz NOT NULL,
    state              text NOT NULL CHECK (state IN ('deployed', 'fail_deploy')),
    audit_state        text NOT NULL DEFAULT 'not_audited' CHECK (audit_state IN ('not_audited', 'up', 'down')),
    audited_at         timestamptz,
    audit_reason       text,
    last_order         uuid NOT NULL,
    sequence           integer NOT NULL CHECK (sequence > 0),
    updated_at         timestamptz NOT NULL
);

-- The configuration that one service owns on one device.
CREATE TABLE footprints (
    service_id uuid NOT NULL,
    device     text COLLATE "C" NOT NULL,
    footprint  json NOT NULL,
    PRIMARY KEY (service_id, device)
);
CREATE INDEX footprints_device ON footprints (device);

-- Which service owns which list entry of a device's configuration: nobody takes what is another's.
-- Paths by bytes ("C"), so that what lies inside a node is one range.
CREATE TABLE owned_nodes (
    device     text COLLATE "C" NOT NULL,
    node       text COLLATE "C" NOT NULL,
    service_id uuid NOT NULL,
    PRIMARY KEY (device, node)
);
CREATE INDEX owned_nodes_service ON owned_nodes (service_id);

-- The inventory.
CREATE TABLE devices (
    name        text COLLATE "C" PRIMARY KEY,
    region      text COLLATE "C" NOT NULL,
    platform    text NOT NULL,
    address     text NOT NULL,
    port        integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    host_key    text,
    credential  text,
    description text,
    sequence    integer NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX devices_region ON devices (region, name);

-- Who may touch a device: one order at a time. The epoch only grows, and outlives the device's row.
CREATE TABLE leases (
    device   text COLLATE "C" PRIMARY KEY,
    order_id uuid,
    epoch    bigint NOT NULL DEFAULT 0,
    since    timestamptz
) WITH (fillfactor = 50);

-- Orders whose time has come but whose devices are not free, in the order of their coming.
CREATE SEQUENCE lease_tickets;
CREATE TABLE lease_waits (
    device   text COLLATE "C" NOT NULL,
    ticket   bigint NOT NULL,
    order_id uuid NOT NULL,
    PRIMARY KEY (device, ticket)
);
-- An order waits once for each device, however often it asks.
CREATE UNIQUE INDEX lease_waits_order ON lease_waits (order_id, device);

-- One network transaction in one region. `updated_at` is when it was last heard of or sent again.
CREATE TABLE deployments (
    id             uuid PRIMARY KEY,
    region         text NOT NULL,
    priority       text NOT NULL CHECK (priority IN ('urgent', 'normal', 'bulk')),
    generation     integer NOT NULL,
    created_at     timestamptz NOT NULL,
    attempt        integer NOT NULL DEFAULT 1,
    sequence       integer NOT NULL DEFAULT 0,
    state          text NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'running', 'in_doubt', 'committed', 'rolled_back', 'rejected', 'unresolved')),
    phase          text,
    worker         text,
    devices        json NOT NULL DEFAULT '[]',
    in_doubt_since timestamptz,
    updated_at     timestamptz NOT NULL
);
CREATE INDEX deployments_unfinished ON deployments (updated_at)
    WHERE state IN ('pending', 'running', 'in_doubt');
CREATE TABLE deployment_orders (
    deployment_id uuid NOT NULL,
    order_id      uuid NOT NULL,
    PRIMARY KEY (deployment_id, order_id)
);
CREATE INDEX deployment_orders_order ON deployment_orders (order_id);
-- What its worker was sent, the durable intent, and what the service owns once it is committed.
-- Never changes; apart from the row above, which does.
CREATE TABLE dispatches (
    deployment_id uuid PRIMARY KEY,
    message       bytea NOT NULL,
    footprints    json NOT NULL
);

-- Work for the broker, written in the transaction that makes it true. A row with `not_before` is
-- an order further ahead than the delay ladder reaches, or a row that no queue takes for now.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    order_id      uuid,
    revision      integer,
    due           timestamptz,
    deployment_id uuid,
    not_before    timestamptz,
    -- It may have been published before: who receives it must ask before doing its work.
    again         boolean NOT NULL DEFAULT false,
    CONSTRAINT outbox_one_kind CHECK (
        (order_id IS NOT NULL AND revision IS NOT NULL AND due IS NOT NULL AND deployment_id IS NULL)
        OR (order_id IS NULL AND deployment_id IS NOT NULL))
);
-- As few indexes as will do: most rows live for milliseconds.
CREATE UNIQUE INDEX outbox_ready ON outbox (id) WHERE not_before IS NULL;
CREATE INDEX outbox_later ON outbox (not_before) WHERE not_before IS NOT NULL;
-- Of which order or deployment it is.
CREATE INDEX outbox_subject ON outbox (coalesce(order_id, deployment_id));

-- History and news in one: every state change of an order, every change of a service or device.
-- A row is never changed; its place in the global log is in `event_cursors`.
CREATE TABLE events (
    id             bigint GENERATED ALWAYS AS IDENTITY,
    event_id       uuid NOT NULL,
    entity         text NOT NULL CHECK (entity IN ('order', 'service', 'device')),
    entity_id      text COLLATE "C" NOT NULL,
    sequence       integer NOT NULL CHECK (sequence > 0),
    what           text NOT NULL,
    at             timestamptz NOT NULL,
    region         text NOT NULL,
    definition     text NOT NULL,
    correlation_id text,
    from_state     text,
    to_state       text,
    why            text,
    actor          text NOT NULL,
    data           json NOT NULL,
    -- A row constructor with a NULL in it would pass IN (…), so the NULLs are ruled out first.
    CONSTRAINT events_lawful CHECK ((from_state IS NULL AND to_state IS NULL)
        OR (from_state IS NOT NULL AND to_state IS NOT NULL AND (from_state, to_state) IN (
        ('-', 'requested'),
        ('requested', 'scheduled'), ('requested', 'cancelled'),
        ('scheduled', 'scheduled'), ('scheduled', 'requested'), ('scheduled', 'cancelled'), ('scheduled', 'in_progress'),
        ('in_progress', 'completed'), ('in_progress', 'invalid'), ('in_progress', 'failed_deploy'),
        ('failed_deploy', 'scheduled'), ('failed_deploy', 'cancelled')))),
    UNIQUE (entity_id, sequence, at)
) PARTITION BY RANGE (at);
CREATE INDEX events_id ON events (id);
CREATE TABLE events_rest PARTITION OF events DEFAULT;

-- Events without a cursor yet, as many as were written together. Written with the events; the one
-- relay replaces them by cursors, after the commit, so that a reader of the log never misses a late
-- one.
CREATE TABLE fresh_events (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    events integer NOT NULL,
    ids    bigint[] NOT NULL,
    times  timestamptz[] NOT NULL
);
-- Cursor, gapless from 1, → event.
CREATE TABLE event_cursors (
    cursor bigint NOT NULL,
    id     bigint NOT NULL,
    at     timestamptz NOT NULL,
    PRIMARY KEY (cursor, at)
) PARTITION BY RANGE (at);
CREATE TABLE event_cursors_rest PARTITION OF event_cursors DEFAULT;

-- Where the relay is: the last cursor given, and the last one published.
CREATE TABLE event_log (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    numbered  bigint NOT NULL DEFAULT 0,
    published bigint NOT NULL DEFAULT 0 CHECK (published <= numbered)
);
INSERT INTO event_log DEFAULT VALUES;

-- API tokens: only a digest is kept.
CREATE TABLE tokens (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    digest     bytea NOT NULL UNIQUE,
    roles      text[] NOT NULL CHECK (cardinality(roles) > 0),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

-- Rows of these live briefly or change often: they are cleaned by number of dead rows, not by a
-- fraction of a table that may have grown large.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE fresh_events SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE lease_waits SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE leases SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
ALTER TABLE orders SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);
ALTER TABLE deployments SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);
