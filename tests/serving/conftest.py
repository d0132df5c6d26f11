"""A small use case, a feature port in memory, and real tiny ONNX models for the tests of serving."""
