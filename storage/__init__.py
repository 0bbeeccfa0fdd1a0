"""Keeps objects: DICOM identity, disk, index and keys. Knows nothing of users or the wire."""
