"""Dead letters for an operator: reading them, and sending again what is well-formed by now.

``letter`` is pure; ``reading`` finds letters, and earlier replays of them, on the topics.
"""
