"""The topics of an installation: the file that describes them, and what the cluster has."""
