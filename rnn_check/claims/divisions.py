"""In batches of which sizes are samples asked?"""

from __future__ import annotations

MOST = 8  # of a few samples every size; of more the smallest, and those about the whole


def divisions(samples: int) -> list[int]:
    """Sizes of batches, from 1 to all samples in one."""
    if samples <= MOST:
        return list(range(1, samples + 1))
    return [1, 2, 3, samples // 2, samples // 2 + 1, samples - 1, samples]
