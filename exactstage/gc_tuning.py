"""Python's garbage collector, for processes that make many objects and hardly a circle of them."""

import gc

_THRESHOLDS = (100_000, 20, 100)


def freeze_and_relax() -> None:
    """Leave what there is now out of all collections, and make those of what comes rare.

    What is in flight is many objects, and reference counts free them: with Python's own thresholds
    (700, 10, 10) the collector looks through them again and again, and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
