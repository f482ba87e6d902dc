"""The overhead of one closed, successful `call`, against a breaker with a lock: one case of all.

python -m benchmarks.overhead
"""

from __future__ import annotations

import sys

from benchmarks.__main__ import main

CASE = ("--case", "success", "--contestant", "bare", "inline", "lock", "call")

if __name__ == "__main__":
    sys.exit(main([*CASE, *sys.argv[1:]]))
