SELECT * FROM tokens ORDER BY name
