"""Open connections from plain settings, for processes that know no Prefect.

Settings are the fields of a model in ``settings`` with its secrets as plain text. They live in
memory and travel over a pipe to a child process; they are never written down or logged.
"""
