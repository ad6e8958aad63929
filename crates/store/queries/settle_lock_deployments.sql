-- With the other parts of their transactions, all in one order. What only parts need is read of them alone.
-- (Nothing is pulled up over OFFSET 0: one look-up each, whatever the statistics say. The first is without IS NOT
-- NULL, so that it is by the primary key.)
SELECT id, state, attempt, sequence, in_doubt_since, transaction_id, stage, confirm_by,
       CASE WHEN transaction_id IS NOT NULL THEN devices END AS devices,
       CASE WHEN transaction_id IS NOT NULL THEN reasons END AS reasons
FROM deployments
WHERE id = ANY ($1::uuid[] || ARRAY(
    SELECT sibling.id
    FROM unnest($1::uuid[]) AS given (id)
    CROSS JOIN LATERAL (SELECT transaction_id FROM deployments WHERE deployments.id = given.id OFFSET 0) AS part
    CROSS JOIN LATERAL (
        SELECT id FROM deployments WHERE deployments.transaction_id = part.transaction_id OFFSET 0
    ) AS sibling
))
ORDER BY id
FOR NO KEY UPDATE
