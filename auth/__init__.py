"""Says who, and whether. Knows nothing of objects on disk or of DIMSE."""
