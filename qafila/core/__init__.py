"""Pure decisions: values in, values out; no Prefect, driver, HTTP, environment or clock."""
