INSERT INTO plans (hash, plan, made_at) VALUES ($1, $2, $3)
ON CONFLICT (hash) DO UPDATE SET plan = excluded.plan, made_at = greatest(plans.made_at, excluded.made_at)
