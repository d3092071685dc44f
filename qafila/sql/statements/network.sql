-- name: said
-- DuckDB. What a bill says of the network: a few hundred things, however many million lines say
-- them, so each is classified once. The kind is the expression that qafila.audit.network_cost.rules
-- writes from its rules.
CREATE OR REPLACE TEMP TABLE network_said AS
SELECT service, description, meter, usage_type, unit, text, kind
FROM (
    SELECT *,
           {kind} AS kind
    FROM (
        SELECT service,
               description,
               meter,
               usage_type,
               unit,
               concat_ws(' · ', service, description, meter) AS text
        FROM line
        GROUP BY service, description, meter, usage_type, unit
    ) AS worded
) AS told
WHERE kind IS NOT NULL;

-- name: transfers
-- DuckDB. The lines that say so, added up by all that the ledger tells apart. The accounts that pay
-- most are named, the others are one together, because a bill may name a hundred thousand.
WITH added AS (
    SELECT line.currency,
           line.period_start,
           line.category,
           line.vendor,
           line.account,
           line.service,
           line.region,
           line.usage_type,
           said.text,
           line.unit,
           line.from_region,
           line.to_region,
           said.kind,
           sum(line.amount) AS amount,
           sum(line.quantity) AS quantity,
           count(line.quantity) AS measured,
           count(*) AS lines
    FROM line
    JOIN network_said AS said
        ON line.service IS NOT DISTINCT FROM said.service
       AND line.description IS NOT DISTINCT FROM said.description
       AND line.meter IS NOT DISTINCT FROM said.meter
       AND line.usage_type IS NOT DISTINCT FROM said.usage_type
       AND line.unit IS NOT DISTINCT FROM said.unit
    GROUP BY ALL
),
named AS (
    SELECT account
    FROM added
    WHERE account IS NOT NULL
    GROUP BY account
    ORDER BY sum(abs(amount)) DESC, account
    LIMIT $most
)
SELECT currency,
       period_start,
       category,
       vendor,
       CASE WHEN account IS NULL OR account IN (SELECT account FROM named) THEN account
            ELSE '$others' END AS whose,
       service,
       region,
       usage_type,
       text,
       unit,
       from_region,
       to_region,
       kind,
       sum(amount),
       sum(quantity),
       sum(measured)::BIGINT,
       sum(lines)::BIGINT
FROM added
GROUP BY ALL
ORDER BY ALL;

-- name: talkers
-- DuckDB. Which named resource paid how much of each kind: the one end of a route that a bill knows.
-- Of each kind and month the dearest alone, because a bill may name a million.
SELECT currency, period_start, resource, kind, unit, amount, quantity
FROM (
    SELECT *,
           sum(amount) OVER (PARTITION BY currency, period_start, kind, resource) AS whole
    FROM (
        SELECT line.currency,
               line.period_start,
               line.resource,
               said.kind,
               line.unit,
               sum(line.amount) AS amount,
               sum(line.quantity) AS quantity
        FROM line
        JOIN network_said AS said
            ON line.service IS NOT DISTINCT FROM said.service
           AND line.description IS NOT DISTINCT FROM said.description
           AND line.meter IS NOT DISTINCT FROM said.meter
           AND line.usage_type IS NOT DISTINCT FROM said.usage_type
           AND line.unit IS NOT DISTINCT FROM said.unit
        WHERE line.category = 'Usage'
          AND line.resource IS NOT NULL
        GROUP BY ALL
    ) AS by_unit
) AS by_resource
QUALIFY dense_rank() OVER (
    PARTITION BY currency, period_start, kind ORDER BY whole DESC, resource
) <= $most
ORDER BY ALL;
