"""The topics of an installation: the file that describes them, and those of the cluster."""
