-- name: judged_queries
-- Every judgement of {table}, the queries in a stable order; {class} and {language} are columns of
-- it or NULL.
SELECT query_id, text, relevant, grade, {class}, {language}
FROM {table}
ORDER BY query_id, relevant;

-- name: golden_prompts
-- Every golden prompt of {table}, in a stable order; takes no lock that anybody waits for.
SELECT prompt_id, prompt
FROM {table}
ORDER BY prompt_id;
