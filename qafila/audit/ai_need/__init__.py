"""Which workloads will need AI within 12 months: signals with evidence, or a question to a person.

``signal``: a question, its answer, and what all answers say together. ``assessing``: the questions
put to a workload file and to an estate. ``showing``: what resources show. ``taking``: what it
would take. ``names``: what names tell.
"""
