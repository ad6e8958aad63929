UPDATE orders SET sequence = sequence + 1 WHERE id = ANY ($1)
