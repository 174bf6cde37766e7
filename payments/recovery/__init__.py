"""Ways back: what an operator does when a worker refuses to go on.

``inspecting`` shows what a journal knows; ``skipping`` gives up records that are gone. Everything
but ``inspecting`` needs all workers stopped (``offline``).
"""
