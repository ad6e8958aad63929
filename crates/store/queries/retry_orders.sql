UPDATE orders
SET state = 'scheduled', sequence = given.sequence, schedule_revision = given.revision, scheduled_for = given.due,
    retries = given.retries, attempts = given.attempts
FROM unnest($1::uuid[], $2::int[], $3::int[], $4::timestamptz[], $5::int[], $6::int[])
     AS given (id, sequence, revision, due, retries, attempts)
WHERE orders.id = given.id AND orders.state = 'failed_deploy'
