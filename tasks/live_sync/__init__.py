"""Live sync: changes of the source, captured before the copy, applied to every living generation.

``ensure_capture`` before the first row is read; ``drain`` when all shards are loaded; ``feed_all``
and ``follow`` as long as generations live; ``verify_live`` while writes go on.
"""

from tasks.live_sync.draining import drain
from tasks.live_sync.feeding import Fed, feed_all, follow
from tasks.live_sync.lifecycle import ensure_capture, remove_capture
from tasks.live_sync.status import read_live_sync
from tasks.live_sync.verify import verify_live

__all__ = [
    "Fed",
    "drain",
    "ensure_capture",
    "feed_all",
    "follow",
    "read_live_sync",
    "remove_capture",
    "verify_live",
]
