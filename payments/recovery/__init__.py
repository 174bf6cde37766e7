"""Recovery: the operator's commands for journals that a worker refuses to take over.

``inspecting`` shows the contents of a journal; ``skipping`` skips records that are gone. All but
``inspecting`` need all workers stopped (``offline``).
"""
