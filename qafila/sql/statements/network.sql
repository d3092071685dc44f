-- name: transfers
-- DuckDB. Every line that pays for the network, grouped by what it says. Lines are grouped before
-- they are classified: a bill says a few hundred things ten million times. The kind is the expression
-- that qafila.core.network.rules writes from its rules.
SELECT *
FROM (
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
           {kind} AS kind,
           amount,
           quantity,
           measured,
           lines
    FROM (
        SELECT currency,
               period_start,
               category,
               vendor,
               service,
               region,
               usage_type,
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
    ) AS said
) AS told
WHERE kind IS NOT NULL
ORDER BY ALL;
