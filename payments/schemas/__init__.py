"""Machine-readable descriptions of the records, made from the models that the code itself uses.

``json_schema`` has one function for each kind of record; ``asyncapi`` describes the topics with
them.
"""
