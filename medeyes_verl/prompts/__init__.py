"""The words for a model, as files: the package's own in default/, replaced by those in a folder of the user's."""
