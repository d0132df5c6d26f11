"""What identifies a model file."""

import hashlib


def digest(onnx: bytes) -> str:
    """The SHA-256 of a model's bytes, in hex."""
    return hashlib.sha256(onnx).hexdigest()
