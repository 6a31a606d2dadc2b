"""Spaces for programs that do not run on Trio.

`with open_bridge(Barista) as bridge` lends handles whose calls block, for threads; `async with open_bridge(Barista) as
bridge` lends handles to await, for asyncio. The runtime runs in a thread of its own, and leaving the block drains it.
"""

from spaceactors.bridge._asyncio import AsyncioBridge, AsyncioSpaceHandle
from spaceactors.bridge._open import OpenBridge, open_bridge
from spaceactors.bridge._sync import SyncBridge, SyncHistoryReader, SyncSpaceHandle

__all__ = [
    "AsyncioBridge",
    "AsyncioSpaceHandle",
    "OpenBridge",
    "SyncBridge",
    "SyncHistoryReader",
    "SyncSpaceHandle",
    "open_bridge",
]
