"""The validation ladder's decisions: measured numbers in, judgements out.

``rungs`` says what a rung is and what it found, ``climb`` how findings become one outcome, and
``judging`` holds the comparisons that several rungs share.
"""
