"""Judge a canary by an exact sequential test on counts of bad answers.

``guardrails`` says what a bad answer is and counts them; ``calibration`` learns from an A/A bake,
and ``tenants`` what it says of single users; ``evidence`` adds look after look to a ``State`` and
``judging`` gives the verdict, and by ``naming`` says for whom; ``objectives`` is what is allowed
without a baseline; ``planning`` says what a proof takes; ``quality`` judges shadow queries;
``e_values`` is the arithmetic.
"""
