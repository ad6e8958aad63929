SELECT * FROM services WHERE id = $1
