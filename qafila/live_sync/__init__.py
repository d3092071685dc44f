"""Live sync: changes of the source, captured before the copy, applied to every living generation.

``ensure_capture`` before the first row is read; ``drain`` when all shards are loaded; ``feed_all``
and ``follow`` as long as generations live; ``verify_live`` while writes go on.
"""
