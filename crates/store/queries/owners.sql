SELECT owned_nodes.device, owned_nodes.node, owned_nodes.service_id
FROM owned_nodes
JOIN unnest($1::text[], $2::text[]) AS given (device, node)
  ON owned_nodes.device = given.device AND owned_nodes.node = given.node
