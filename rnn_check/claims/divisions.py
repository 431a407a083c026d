"""In batches of which sizes are samples asked?"""

from __future__ import annotations

MOST = 8  # of a few samples every size; of more the smallest, and those about the whole


def divisions(samples: int, even: bool = False) -> list[int]:
    """Sizes of batches, from 1 to all samples in one.

    even: only those with which no batch is smaller, as a stateful layer wants it.
    """
    if samples <= MOST:
        sizes = list(range(1, samples + 1))
    else:
        sizes = [1, 2, 3, samples // 2, samples // 2 + 1, samples - 1, samples]
    return [size for size in sizes if not even or samples % size == 0]
