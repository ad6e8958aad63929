SELECT plan FROM plans WHERE hash = $1
