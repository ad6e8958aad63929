-- Orders, services, devices, leases, deployments, the outbox and the event log.

-- A service order. The columns that only acceptance writes come first; those that move, last.
CREATE TABLE orders (
    id                 uuid PRIMARY KEY,
    kind               text NOT NULL CHECK (kind IN ('provision', 'modify', 'redeploy', 'validate', 'decommission')),
    definition         text NOT NULL,
    definition_version integer NOT NULL,
    service_id         uuid NOT NULL,
    region             text NOT NULL,
    attributes         jsonb NOT NULL,
    endpoints          jsonb NOT NULL,
    devices            text[] NOT NULL CHECK (cardinality(devices) > 0),
    priority           text NOT NULL CHECK (priority IN ('urgent', 'normal', 'bulk')),
    external_id        text,
    description        text,
    requester          text NOT NULL,
    idempotency_key    text,
    digest             bytea NOT NULL,
    derived_from       uuid REFERENCES orders (id),
    created_at         timestamptz NOT NULL,
    state              text NOT NULL,
    schedule_revision  integer NOT NULL DEFAULT 0,
    scheduled_for      timestamptz,
    generation         integer NOT NULL DEFAULT 0,
    sequence           integer NOT NULL CHECK (sequence > 0),
    errors             jsonb NOT NULL DEFAULT '[]',
    updated_at         timestamptz NOT NULL,
    CONSTRAINT orders_state CHECK (state IN
        ('requested', 'scheduled', 'in_progress', 'completed', 'invalid', 'failed_deploy', 'cancelled')),
    CONSTRAINT orders_scheduled_has_time CHECK (state <> 'scheduled' OR scheduled_for IS NOT NULL),
    CONSTRAINT orders_started_has_generation CHECK
        (state NOT IN ('in_progress', 'completed', 'invalid', 'failed_deploy') OR generation > 0),
    CONSTRAINT orders_failed_has_reason CHECK
        (state NOT IN ('invalid', 'failed_deploy') OR errors <> '[]')
);
CREATE UNIQUE INDEX orders_idempotency_key ON orders (requester, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX orders_external_id ON orders (requester, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX orders_scheduled ON orders (scheduled_for) WHERE state = 'scheduled';
CREATE INDEX orders_unfinished ON orders (state, id) WHERE state NOT IN ('completed', 'scheduled');
CREATE INDEX orders_service ON orders (service_id);

-- What a completed provision order leaves in the network.
CREATE TABLE services (
    id                 uuid PRIMARY KEY,
    definition         text NOT NULL,
    definition_version integer NOT NULL,
    region             text NOT NULL,
    attributes         jsonb NOT NULL,
    endpoints          jsonb NOT NULL,
    devices            text[] NOT NULL,
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
    device     text NOT NULL,
    footprint  jsonb NOT NULL,
    PRIMARY KEY (service_id, device)
);

-- Which service owns which list entry of a device's configuration: nobody takes what is another's.
-- Paths by bytes ("C"), so that what lies inside a node is one range.
CREATE TABLE owned_nodes (
    device     text NOT NULL,
    node       text COLLATE "C" NOT NULL,
    service_id uuid NOT NULL,
    PRIMARY KEY (device, node)
);
CREATE INDEX owned_nodes_service ON owned_nodes (service_id);

-- The inventory.
CREATE TABLE devices (
    name        text PRIMARY KEY,
    region      text NOT NULL,
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
    device   text PRIMARY KEY,
    order_id uuid,
    epoch    bigint NOT NULL DEFAULT 0,
    since    timestamptz
) WITH (fillfactor = 50);

-- Orders whose time has come but whose devices are not free, in the order of their coming.
CREATE SEQUENCE lease_tickets;
CREATE TABLE lease_waits (
    device   text NOT NULL,
    ticket   bigint NOT NULL,
    order_id uuid NOT NULL,
    PRIMARY KEY (device, ticket)
);
CREATE INDEX lease_waits_order ON lease_waits (order_id);

-- One network transaction in one region. `message` is what the worker was sent: the durable intent.
CREATE TABLE deployments (
    id             uuid PRIMARY KEY,
    region         text NOT NULL,
    priority       text NOT NULL,
    generation     integer NOT NULL,
    message        bytea NOT NULL,
    footprints     jsonb NOT NULL,
    created_at     timestamptz NOT NULL,
    attempt        integer NOT NULL DEFAULT 1,
    sequence       integer NOT NULL DEFAULT 0,
    state          text NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'running', 'in_doubt', 'committed', 'rolled_back', 'rejected', 'unresolved')),
    phase          text,
    worker         text,
    devices        jsonb NOT NULL DEFAULT '[]',
    in_doubt_since timestamptz,
    updated_at     timestamptz NOT NULL
);
CREATE INDEX deployments_unfinished ON deployments (updated_at)
    WHERE state IN ('pending', 'running', 'in_doubt');
CREATE TABLE deployment_orders (
    order_id      uuid NOT NULL,
    deployment_id uuid NOT NULL,
    PRIMARY KEY (order_id, deployment_id)
);

-- Work for the broker, written in the transaction that makes it true. A row with `not_before`
-- is an order further ahead than the delay ladder reaches.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id      uuid,
    revision      integer,
    due           timestamptz,
    deployment_id uuid,
    not_before    timestamptz,
    CONSTRAINT outbox_one_kind CHECK (
        (order_id IS NOT NULL AND revision IS NOT NULL AND due IS NOT NULL AND deployment_id IS NULL)
        OR (order_id IS NULL AND deployment_id IS NOT NULL))
);
CREATE INDEX outbox_later ON outbox (not_before) WHERE not_before IS NOT NULL;
CREATE INDEX outbox_ready ON outbox (id) WHERE not_before IS NULL;
CREATE INDEX outbox_order ON outbox (order_id) WHERE order_id IS NOT NULL;

-- History and news in one: every state change of an order, every change of a service or device.
-- `cursor` is given by the one relay after the commit, so that a reader never misses a late commit.
CREATE TABLE events (
    id             bigint GENERATED ALWAYS AS IDENTITY,
    cursor         bigint,
    event_id       uuid NOT NULL,
    entity         text NOT NULL CHECK (entity IN ('order', 'service', 'device')),
    entity_id      text NOT NULL,
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
    data           jsonb NOT NULL,
    CONSTRAINT events_lawful CHECK (to_state IS NULL OR (from_state, to_state) IN (
        ('-', 'requested'),
        ('requested', 'scheduled'), ('requested', 'cancelled'),
        ('scheduled', 'scheduled'), ('scheduled', 'requested'), ('scheduled', 'cancelled'), ('scheduled', 'in_progress'),
        ('in_progress', 'completed'), ('in_progress', 'invalid'), ('in_progress', 'failed_deploy'),
        ('failed_deploy', 'scheduled'), ('failed_deploy', 'cancelled'))),
    UNIQUE (entity_id, sequence, at)
) PARTITION BY RANGE (at);
CREATE INDEX events_unnumbered ON events (id) WHERE cursor IS NULL;
CREATE INDEX events_cursor ON events (cursor) WHERE cursor IS NOT NULL;
CREATE TABLE events_rest PARTITION OF events DEFAULT;

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
