-- name: insert_price
-- One row of a snapshot. A snapshot is written whole, in one transaction; taking it again changes
-- nothing.
INSERT INTO qafila.price (snapshot_at, item, unit, currency, amount, source, as_of)
VALUES (%(snapshot_at)s, %(item)s, %(unit)s, %(currency)s, %(amount)s, %(source)s, %(as_of)s)
ON CONFLICT (snapshot_at, item) DO NOTHING;

-- name: newest_prices
-- The newest snapshot, whole. Reads only.
SELECT snapshot_at, item, unit, currency, amount, source, as_of
FROM qafila.price
WHERE snapshot_at = (SELECT max(snapshot_at) FROM qafila.price)
ORDER BY item;
