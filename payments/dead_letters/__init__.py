"""Dead letters for an operator: lists them, and replays those that are well-formed by now.

``letter`` is pure; ``reading`` finds letters, and earlier replays of them, on the topics.
"""
