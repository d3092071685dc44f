"""The reference pages, one module a page: what is read from the code, and how it is written."""
