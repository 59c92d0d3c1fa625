"""Generators as files that need no jaxgan: ONNX, StableHLO, and what torch-fidelity reads."""

from jaxgan.export.onnx_file import to_onnx

__all__ = ["to_onnx"]
