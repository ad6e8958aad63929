DELETE FROM plans WHERE made_at < $1
