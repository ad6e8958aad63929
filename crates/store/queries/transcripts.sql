SELECT attempt, device, worker, at, left_out, exchanges
FROM transcripts
WHERE deployment_id = $1 AND ($2::text IS NULL OR device = $2)
  AND attempt > (SELECT max(newest.attempt) - $3 FROM transcripts AS newest WHERE newest.deployment_id = $1)
ORDER BY attempt, device
