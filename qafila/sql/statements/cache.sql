-- name: find_cached
-- One round trip a batch, by the primary key; takes no lock.
SELECT text_digest, embedding
FROM qafila.embedding_cache
WHERE fingerprint = %(fingerprint)s
  AND text_digest = ANY(%(digests)b::bytea[]);

-- name: put_cached
-- One statement a batch. The caller sorts by digest: two workers that put the same texts then wait
-- for each other in one order and cannot deadlock. Who comes second changes nothing.
INSERT INTO qafila.embedding_cache (text_digest, fingerprint, embedding)
SELECT text_digest, %(fingerprint)s, embedding
FROM unnest(%(digests)b::bytea[], %(embeddings)b::bytea[]) AS new (text_digest, embedding)
ON CONFLICT (text_digest, fingerprint) DO NOTHING;

-- name: forget_cached
-- Texts that have to be gone.
DELETE FROM qafila.embedding_cache
WHERE text_digest = ANY(%(digests)b::bytea[]);

-- name: put_map
INSERT INTO qafila.linear_map (digest, workload, from_vectors, to_vectors, body, quality)
VALUES (%(digest)s, %(workload)s, %(from_vectors)s, %(to_vectors)s, %(body)b, %(quality)s)
ON CONFLICT (digest) DO NOTHING;

-- name: find_map
-- The newest between these two; the digest breaks a tie.
SELECT body, quality
FROM qafila.linear_map
WHERE workload = %(workload)s
  AND from_vectors = %(from_vectors)s
  AND to_vectors = %(to_vectors)s
ORDER BY made_at DESC, digest
LIMIT 1;

-- name: newest_map
-- What a bridge generation of this workload would be opened with.
SELECT digest
FROM qafila.linear_map
WHERE workload = %(workload)s
ORDER BY made_at DESC, digest
LIMIT 1;
