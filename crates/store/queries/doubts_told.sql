UPDATE deployments SET doubt_told = in_doubt_since WHERE id = ANY ($1)
