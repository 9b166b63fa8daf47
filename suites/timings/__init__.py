"""asv's benchmarks, one module a room; `core = True` marks those that branches are compared by.

asv imports this folder as the package `timings` and leaves the project's root off `sys.path`; the
root comes first here, so that `fixtures` and `harness` are the checkout's even where the wheel of
the commit under test brings its own. `titanstore` lies below `src`, which is not added: it is the
one that the environment installed.

The method of a core benchmark may be called once or many times after one `setup`, and costs the
same each time. What it returned last is checked in `teardown`, outside the timed part. Where a
commit lacks what a benchmark needs, `setup` raises NotImplementedError, which asv shows as skipped.

Stores sync nothing to the disk here: what is compared is the store's own work, and what a disk adds
to it is the gate `update.latency`'s.
"""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
if sys.path[:1] != [_ROOT]:
    sys.path.insert(0, _ROOT)
