-- name: said
-- DuckDB. Every line that pays for the network, grouped by what it says. Lines are grouped before
-- they are classified: a bill says a few hundred things ten million times. The kind is the
-- expression that qafila.core.network.rules writes from its rules.
CREATE OR REPLACE TEMP TABLE network_said AS
SELECT *
FROM (
    SELECT *,
           {kind} AS kind
    FROM (
        SELECT currency,
               period_start,
               category,
               vendor,
               service,
               region,
               usage_type,
               description,
               meter,
               concat_ws(' · ', service, description, meter) AS text,
               unit,
               from_region,
               to_region,
               sum(amount) AS amount,
               sum(quantity) AS quantity,
               count(quantity) AS measured,
               count(*) AS lines
        FROM line
        GROUP BY ALL
    ) AS grouped
) AS told
WHERE kind IS NOT NULL;

-- name: transfers
-- DuckDB. The grouped lines, for the ledger.
SELECT currency,
       period_start,
       category,
       vendor,
       service,
       region,
       usage_type,
       text,
       unit,
       from_region,
       to_region,
       kind,
       amount,
       quantity,
       measured,
       lines
FROM network_said
ORDER BY ALL;

-- name: talkers
-- DuckDB. Which named resource paid how much of each kind: the one end of a route that a bill knows.
SELECT line.currency,
       line.period_start,
       line.resource,
       said.kind,
       line.unit,
       sum(line.amount),
       sum(line.quantity)
FROM line
JOIN (
    SELECT DISTINCT service, description, meter, usage_type, unit, kind
    FROM network_said
    WHERE category = 'Usage'
) AS said
    ON line.service IS NOT DISTINCT FROM said.service
   AND line.description IS NOT DISTINCT FROM said.description
   AND line.meter IS NOT DISTINCT FROM said.meter
   AND line.usage_type IS NOT DISTINCT FROM said.usage_type
   AND line.unit IS NOT DISTINCT FROM said.unit
WHERE line.category = 'Usage'
  AND line.resource IS NOT NULL
GROUP BY ALL
ORDER BY ALL;
