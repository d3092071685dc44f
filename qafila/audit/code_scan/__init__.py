"""Where code depends on one provider, in which form, and what leaving it takes.

``parsing`` reads the tables of providers into ``rules``; ``namespaces`` and ``integrations`` tell
what no row names. ``facts`` is what a file says in any language; ``resolving`` follows its names
and ``matching`` holds them against the rules; ``abstraction`` looks at a whole repository;
``values`` is what comes out. Reading files is ``qafila.audit.code_scan.scan``.
"""
