-- name: periods
-- DuckDB. One row a month and currency; closed only when every line carries an invoice id.
SELECT currency,
       period_start,
       sum(amount),
       coalesce(sum(amount) FILTER (WHERE category = 'Usage'), 0),
       count(*),
       bool_and(invoice IS NOT NULL)
FROM line
GROUP BY currency, period_start
ORDER BY currency, period_start;

-- name: services
-- DuckDB. Spend by service and month.
SELECT currency, period_start, service, sum(amount), count(*)
FROM line
GROUP BY ALL
ORDER BY currency, period_start, service;

-- name: vendors
-- DuckDB. Spend by vendor and month.
SELECT currency, period_start, coalesce(vendor, 'not named'), sum(amount), count(*)
FROM line
GROUP BY ALL
ORDER BY 1, 2, 3;

-- name: network
-- DuckDB. Usage lines that pay for moving bytes, by route; the order of the branches matters.
-- The wording is that of AWS and Azure price lists, which every cost export carries.
SELECT currency, period_start, route, sum(amount), count(*)
FROM (
    SELECT currency, period_start, amount,
           CASE
               WHEN description ILIKE '%nat gateway%'
                    AND description ILIKE '%processed%' THEN 'NAT processing'
               WHEN description ILIKE '%regional data transfer%' THEN 'cross-AZ'
               WHEN description ILIKE '%data transfer%cloudfront%' THEN 'CDN'
               WHEN description ILIKE '%data transfer to %'
                    OR description ILIKE '%data transfer from %' THEN 'inter-region'
               WHEN description ILIKE '%data transfer in%' THEN 'in'
               WHEN description ILIKE '%data transfer out%' THEN 'internet out'
               WHEN description ILIKE '%data transfer%'
                    OR description ILIKE '%bandwidth%'
                    OR meter = 'Data Transfer' THEN 'other transfer'
           END AS route
    FROM line
    WHERE category = 'Usage'
) AS routed
WHERE route IS NOT NULL
GROUP BY ALL
ORDER BY currency, period_start, route;

-- name: issuers
-- DuckDB. Who issued the bill; a bill that is not real says so here.
SELECT DISTINCT issuer
FROM line
WHERE issuer IS NOT NULL
ORDER BY issuer;

-- name: items
-- DuckDB. What each named resource was billed, by month.
SELECT resource, min(service), min(coalesce(region, '')), currency, period_start, sum(amount)
FROM line
WHERE resource IS NOT NULL
GROUP BY resource, currency, period_start
ORDER BY resource, currency, period_start;

-- name: defects
-- DuckDB. What makes lines unusable or doubtful, counted.
SELECT count(*),
       count(*) FILTER (WHERE amount IS NULL),
       count(*) FILTER (WHERE period_start IS NULL),
       count(*) FILTER (WHERE currency IS NULL),
       count(*) FILTER (WHERE decimals > 20)
FROM line;
