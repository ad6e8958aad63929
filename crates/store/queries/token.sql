SELECT id, name, roles, created_at, expires_at, revoked_at FROM tokens WHERE digest = $1
