-- With the other parts of their transactions, all in one order. What only parts need is read of them alone.
SELECT id, state, attempt, sequence, in_doubt_since, transaction_id, stage, confirm_by,
       CASE WHEN transaction_id IS NOT NULL THEN devices END AS devices,
       CASE WHEN transaction_id IS NOT NULL THEN reasons END AS reasons
FROM deployments
WHERE id IN (
    SELECT unnest($1::uuid[])
    UNION
    SELECT sibling.id
    FROM deployments AS part
    JOIN deployments AS sibling ON sibling.transaction_id = part.transaction_id
    WHERE part.id = ANY ($1) AND part.transaction_id IS NOT NULL
)
ORDER BY id
FOR NO KEY UPDATE OF deployments
