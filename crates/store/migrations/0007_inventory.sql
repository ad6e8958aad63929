-- Addresses in one spelling and of one device each; host keys by fingerprint; corrected orders keep their external id.

-- Fingerprint of the pinned host key, by which devices with the same key are found.
ALTER TABLE devices ADD COLUMN fingerprint text COLLATE "C";
-- Had the same address and port as an older device when that became forbidden. Cleared with the next change of either.
ALTER TABLE devices ADD COLUMN shares_address boolean NOT NULL DEFAULT false;

-- As turnup_core::inventory spells them; what can't be read stays as it is.
DO $$
DECLARE
    device record;
    spelled text;
    digest text;
BEGIN
    FOR device IN SELECT name, address, host_key FROM devices LOOP
        spelled := lower(regexp_replace(device.address, '\.$', ''));
        digest := NULL;
        BEGIN
            IF strpos(spelled, ':') > 0 AND strpos(spelled, '%') = 0 THEN
                spelled := regexp_replace(host(spelled::inet), '^::ffff:(\d+\.\d+\.\d+\.\d+)$', '\1');
            ELSIF strpos(spelled, '%') > 0 THEN
                spelled := host(split_part(spelled, '%', 1)::inet) || '%' || split_part(device.address, '%', 2);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            spelled := device.address;
        END;
        BEGIN
            digest := CASE
                WHEN device.host_key LIKE 'SHA256:%' THEN rtrim(device.host_key, '=')
                ELSE 'SHA256:' || rtrim(encode(sha256(decode(split_part(device.host_key, ' ', 2), 'base64')), 'base64'), '=')
            END;
        EXCEPTION WHEN OTHERS THEN
            digest := NULL;
        END;
        UPDATE devices SET address = spelled, fingerprint = digest
        WHERE name = device.name AND (address <> spelled OR digest IS NOT NULL);
    END LOOP;
END
$$;
UPDATE devices SET shares_address = true
WHERE EXISTS (SELECT FROM devices AS older WHERE older.address = devices.address AND older.port = devices.port
              AND (older.created_at, older.name) < (devices.created_at, devices.name));
CREATE UNIQUE INDEX devices_unique_address ON devices (address, port) WHERE NOT shares_address;
CREATE INDEX devices_address ON devices (address, port);
CREATE INDEX devices_fingerprint ON devices (fingerprint) WHERE fingerprint IS NOT NULL;

-- The order that corrects this one, which was Invalid. Then the external id is the correction's.
ALTER TABLE order_requests ADD COLUMN superseded_by uuid;
DROP INDEX order_requests_external_id;
CREATE UNIQUE INDEX order_requests_external_id ON order_requests
    (external_id, requester, coalesce(superseded_by, '00000000-0000-0000-0000-000000000000'))
    WHERE external_id IS NOT NULL;
CREATE INDEX services_external_id ON services (external_id) WHERE external_id IS NOT NULL;
