DELETE FROM transcripts WHERE ctid = ANY (ARRAY (SELECT ctid FROM transcripts WHERE at < $1 LIMIT $2))
