-- name: spend
-- DuckDB. The one scan over all lines: sums and counts by month, vendor, service and category.
-- A savings plan's negation takes back what its covered hours show at list price: it is below zero
-- and without a resource by its nature, and no defect.
-- Everything below that says FROM spend is read from its few rows.
CREATE TEMP TABLE spend AS
SELECT currency,
       period_start,
       coalesce(vendor, 'not named') AS vendor,
       service,
       category,
       class,
       names_invoices,
       commitment IS NOT NULL AS committed,
       sum(amount) AS amount,
       count(*) AS rows,
       count(amount) AS amounts,
       count(invoice) AS invoiced,
       sum(effective_cost) AS effective,
       count(effective_cost) AS effectives,
       sum(list_cost) AS list,
       sum(contracted_cost) AS contracted,
       count(*) FILTER (WHERE tags IS NULL) AS untagged,
       coalesce(sum(amount) FILTER (WHERE tags IS NULL), 0) AS untagged_amount,
       count(*) FILTER (
           WHERE resource IS NULL AND kind IS DISTINCT FROM 'SavingsPlanNegation'
       ) AS unnamed,
       coalesce(sum(amount) FILTER (
           WHERE resource IS NULL AND kind IS DISTINCT FROM 'SavingsPlanNegation'
       ), 0) AS unnamed_amount,
       count(*) FILTER (WHERE account IS NULL) AS without_account,
       coalesce(max(decimals), 0) AS decimals,
       coalesce(sum(literal_nulls), 0)::BIGINT AS literal_nulls,
       count(*) FILTER (WHERE literal_nulls > 0) AS null_rows,
       count(*) FILTER (WHERE zone = 'none') AS zoneless,
       count(*) FILTER (WHERE zone = 'offset') AS offsets,
       count(*) FILTER (
           WHERE (amount < 0 OR quantity < 0) AND kind IS DISTINCT FROM 'SavingsPlanNegation'
       ) AS negatives,
       coalesce(sum(amount) FILTER (
           WHERE (amount < 0 OR quantity < 0) AND kind IS DISTINCT FROM 'SavingsPlanNegation'
       ), 0) AS negative_amount,
       coalesce(bit_or(1::UINTEGER << day(charge_start)) FILTER (
           WHERE category = 'Usage'
                 AND coalesce(charge_end <= charge_start + INTERVAL 1 DAY, TRUE)
                 AND date_trunc('month', charge_start) = period_start
       ), 0) AS days
FROM line
GROUP BY ALL;

-- name: unreadable
-- DuckDB. What makes lines unusable, counted.
SELECT coalesce(sum(rows), 0)::BIGINT,
       coalesce(sum(rows - amounts), 0)::BIGINT,
       coalesce(sum(rows) FILTER (WHERE period_start IS NULL), 0)::BIGINT,
       coalesce(sum(rows) FILTER (WHERE currency IS NULL), 0)::BIGINT
FROM spend;

-- name: periods
-- DuckDB. One row a month and currency; closed only when every line carries an invoice id, not
-- known where no line lacks one but some file has no column of invoice ids.
SELECT currency,
       period_start,
       sum(amount),
       coalesce(sum(amount) FILTER (WHERE category = 'Usage'), 0),
       sum(rows)::BIGINT,
       CASE
           WHEN bool_or(names_invoices AND invoiced < rows) THEN FALSE
           WHEN bool_and(names_invoices) THEN TRUE
       END
FROM spend
GROUP BY currency, period_start
ORDER BY currency, period_start;

-- name: services
-- DuckDB. Spend by service and month.
SELECT currency, period_start, service, sum(amount), sum(rows)::BIGINT
FROM spend
GROUP BY ALL
ORDER BY currency, period_start, service;

-- name: vendors
-- DuckDB. Spend by vendor and month.
SELECT currency, period_start, vendor, sum(amount), sum(rows)::BIGINT
FROM spend
GROUP BY ALL
ORDER BY currency, period_start, vendor;

-- name: categories
-- DuckDB. Spend by charge category and month; refunds and corrections apart from what they undo.
SELECT currency, period_start, coalesce(class, category, 'not named'), sum(amount),
       sum(rows)::BIGINT
FROM spend
GROUP BY ALL
ORDER BY 1, 2, 3;

-- name: commitments
-- DuckDB. Billed beside amortised by month: what commitments cost now, and what they were used for.
SELECT currency,
       period_start,
       sum(amount),
       CASE WHEN sum(effectives) = sum(rows) THEN coalesce(sum(effective), 0) END,
       coalesce(sum(amount) FILTER (WHERE committed AND category = 'Purchase'), 0),
       coalesce(sum(effective) FILTER (WHERE committed AND category = 'Usage'), 0),
       coalesce(sum(rows) FILTER (WHERE committed), 0)::BIGINT
FROM spend
GROUP BY currency, period_start
ORDER BY currency, period_start;

-- name: doubts
-- DuckDB. What is doubtful, counted by vendor and currency. Purchases do not tell whether a column
-- is rounded: the effective cost of a commitment's purchase is nothing.
SELECT vendor,
       currency,
       sum(rows)::BIGINT,
       sum(amount),
       coalesce(bool_or(amount <> trunc(amount)) FILTER (
           WHERE category IS DISTINCT FROM 'Purchase'
       ), FALSE),
       coalesce(bool_and(effective = trunc(effective)) FILTER (
           WHERE category IS DISTINCT FROM 'Purchase'
       ), FALSE),
       coalesce(bool_and(list = trunc(list)) FILTER (
           WHERE category IS DISTINCT FROM 'Purchase'
       ), FALSE),
       coalesce(bool_and(contracted = trunc(contracted)) FILTER (
           WHERE category IS DISTINCT FROM 'Purchase'
       ), FALSE),
       coalesce(sum(rows) FILTER (WHERE category IS DISTINCT FROM 'Purchase'), 0)::BIGINT,
       sum(untagged)::BIGINT,
       sum(untagged_amount),
       coalesce(sum(unnamed) FILTER (WHERE category = 'Usage'), 0)::BIGINT,
       coalesce(sum(unnamed_amount) FILTER (WHERE category = 'Usage'), 0),
       sum(without_account)::BIGINT,
       coalesce(sum(negatives) FILTER (WHERE category = 'Usage' AND class IS NULL), 0)::BIGINT,
       coalesce(sum(negative_amount) FILTER (WHERE category = 'Usage' AND class IS NULL), 0),
       coalesce(sum(rows) FILTER (
           WHERE category IS NULL
                 OR category NOT IN ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment')
       ), 0)::BIGINT,
       coalesce(sum(rows) FILTER (WHERE service = 'not named'), 0)::BIGINT
FROM spend
GROUP BY vendor, currency
ORDER BY vendor, currency;

-- name: whole_values
-- DuckDB. Whether a vendor's costs are whole numbers line by line, asked only where all the sums
-- are: whole numbers add up to whole numbers, so that most bills are cleared without this scan.
SELECT count(effective_cost) > 0
           AND coalesce(bool_and(effective_cost = trunc(effective_cost)), TRUE),
       count(list_cost) > 0
           AND coalesce(bool_and(list_cost = trunc(list_cost)), TRUE),
       count(contracted_cost) > 0
           AND coalesce(bool_and(contracted_cost = trunc(contracted_cost)), TRUE)
FROM line
WHERE coalesce(vendor, 'not named') = $1
      AND currency = $2
      AND category IS DISTINCT FROM 'Purchase';

-- name: mismatches
-- DuckDB. Lines on which price times quantity is not the cost, by more than 1 % and a millionth,
-- among the first million that have all three; floating point is exact enough to tell.
SELECT vendor, currency, count(*), count(*) FILTER (WHERE apart),
       coalesce(sum(priced_cost) FILTER (WHERE apart), 0)
FROM (
    SELECT vendor,
           currency,
           priced_cost,
           abs(unit_price::DOUBLE * priced_quantity::DOUBLE - priced_cost::DOUBLE)
               > greatest(0.01 * abs(priced_cost::DOUBLE), 1e-6) AS apart
    FROM (
        SELECT coalesce(vendor, 'not named') AS vendor, currency, unit_price, priced_quantity,
               priced_cost
        FROM line
        WHERE unit_price IS NOT NULL
              AND priced_quantity IS NOT NULL
              AND priced_cost IS NOT NULL
        LIMIT 1000000
    ) AS first
) AS compared
GROUP BY ALL
HAVING count(*) FILTER (WHERE apart) > 0
ORDER BY vendor, currency;

-- name: wording
-- DuckDB. How the whole bill is written: lost digits, literal NULLs, zones.
SELECT sum(rows)::BIGINT,
       max(decimals)::BIGINT,
       sum(literal_nulls)::BIGINT,
       sum(null_rows)::BIGINT,
       sum(zoneless)::BIGINT,
       sum(offsets)::BIGINT
FROM spend;

-- name: places
-- DuckDB. How many decimals amounts have, and how large they are together: what an exact sum needs.
SELECT max(decimals)::BIGINT, trunc(sum(abs(amount)))
FROM line;

-- name: rounded
-- DuckDB. How many amounts have more decimals than are kept.
SELECT count(*) FILTER (WHERE decimals > $1)
FROM line;

-- name: days
-- DuckDB. Days with usage by vendor and month, one bit a day.
SELECT vendor, period_start, bit_or(days)
FROM spend
WHERE period_start = date_trunc('month', period_start)
GROUP BY vendor, period_start
ORDER BY vendor, period_start;

-- name: partly_invoiced
-- DuckDB. Months of a vendor in which some lines carry an invoice id and others do not.
SELECT vendor, period_start, sum(rows)::BIGINT, sum(rows - invoiced)::BIGINT
FROM spend
WHERE names_invoices
GROUP BY vendor, period_start
HAVING sum(invoiced) > 0 AND sum(invoiced) < sum(rows)
ORDER BY vendor, period_start;

-- name: repeated
-- DuckDB. How many lines are the same as another one to the last digit.
SELECT count(*) - count(DISTINCT fingerprint)
FROM line;

-- name: repeated_amounts
-- DuckDB. What the second and later copies of a line were billed, by currency.
SELECT currency, sum(copies - 1)::BIGINT, sum(amount * (copies - 1))
FROM (
    SELECT fingerprint, currency, any_value(amount) AS amount, count(*) AS copies
    FROM line
    GROUP BY fingerprint, currency
    HAVING count(*) > 1
) AS copied
GROUP BY currency
ORDER BY currency;

-- name: unused_commitments
-- DuckDB. Azure lines that only an amortised export has.
SELECT count(*)
FROM line
WHERE kind IN ('UnusedReservation', 'UnusedSavingsPlan', 'AmortisedUsage');

-- name: repeated_within_files
-- DuckDB. Lines that are the same as another one of the same file.
SELECT count(*) - count(DISTINCT (file, fingerprint))
FROM line;

-- name: shared_lines
-- DuckDB. Lines that stand in two files: the same to the last digit, or by their vendor's id.
SELECT file, other, count(*)
FROM (
    SELECT min(file), max(file)
    FROM line
    GROUP BY coalesce(format || account || line_id, fingerprint::VARCHAR)
    HAVING min(file) <> max(file)
) AS shared(file, other)
GROUP BY file, other
ORDER BY count(*) DESC, file, other;

-- name: restated
-- DuckDB. Files of which most lines stand in another file, but for their amounts. Lines without
-- a time of their own or without a subject are not compared: too little is known of them.
WITH keyed AS (
    SELECT file,
           hash(format, vendor, account, resource, service, description, meter, usage_type,
                operation, region, category, kind, charge_start, charge_end, unit) AS key
    FROM line
    WHERE charge_start IS NOT NULL
          AND coalesce(resource, description) IS NOT NULL
), sized AS (
    SELECT file, count(DISTINCT key) AS keys
    FROM keyed
    GROUP BY file
), shared AS (
    SELECT one.file AS file, other.file AS other, count(DISTINCT one.key) AS keys
    FROM (SELECT DISTINCT file, key FROM keyed) AS one
    JOIN (SELECT DISTINCT file, key FROM keyed) AS other
         ON one.key = other.key AND one.file <> other.file
    GROUP BY one.file, other.file
)
SELECT file, other, shared.keys, sized.keys
FROM shared JOIN sized USING (file)
WHERE 2 * shared.keys > sized.keys
ORDER BY file, other;

-- name: two_formats
-- DuckDB. One account and month that two files of different formats hold.
SELECT DISTINCT one.file, other.file, one.account, one.period_start, one.format, other.format
FROM (SELECT DISTINCT file, format, vendor, account, date_trunc('month', period_start)
      FROM line WHERE account IS NOT NULL) AS one(file, format, vendor, account, period_start)
JOIN (SELECT DISTINCT file, format, vendor, account, date_trunc('month', period_start)
      FROM line WHERE account IS NOT NULL) AS other(file, format, vendor, account, period_start)
     ON one.account = other.account
        AND one.vendor = other.vendor
        AND one.period_start = other.period_start
        AND one.format < other.format
ORDER BY ALL
LIMIT 10;

-- name: issuers
-- DuckDB. Who issued the bill; a bill that is not real says so here.
SELECT DISTINCT issuer
FROM line
WHERE issuer IS NOT NULL
ORDER BY issuer;

-- name: items
-- DuckDB. What each named resource was billed, by month: by the service and in the region of its
-- dearest line, since a line of its traffic may name others.
SELECT resource,
       coalesce(max_by(service, abs(amount)), 'not named'),
       coalesce(max_by(region, abs(amount)), ''),
       currency,
       period_start,
       sum(amount)
FROM line
WHERE resource IS NOT NULL
GROUP BY resource, currency, period_start
ORDER BY resource, currency, period_start;

-- name: tag_sets
-- DuckDB. Spend by the tags on a line, as they are written; NULL where there are none.
SELECT currency, period_start, tags, sum(amount), count(*)
FROM line
GROUP BY currency, period_start, tags
ORDER BY currency, period_start, tags;
