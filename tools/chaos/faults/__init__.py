"""The faults: each strikes a scene and heals it again."""
