-- Orders that take another order back name it in their options.
CREATE INDEX order_requests_undoes ON order_requests ((options->>'undoes')) WHERE options->>'undoes' IS NOT NULL;
