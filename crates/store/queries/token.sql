SELECT * FROM tokens WHERE digest = $1
