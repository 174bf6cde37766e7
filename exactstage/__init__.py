"""The engine: journal first, group commit, fenced by epoch (DESIGN section 4).

It knows nothing of payments. An application gives it stages (``stage.Stage``); it reads their
inputs, journals what they decide, publishes it exactly once, and restores it after any crash.

Data flows one way, and the modules follow it::

    reading -> processing -> journal -> committer -> log
                  takeover: log -> journal            (once for each partition gained)

``log`` is the one interface to Kafka; ``kafka`` implements it on a broker, ``memory`` in a process.
``hosting`` puts an engine into a Faust worker.
"""
