"""Generators as files that need no jaxgan: ONNX, StableHLO, and what torch-fidelity reads."""

from jaxgan.export.check import check_onnx, check_stablehlo, check_torch_fidelity
from jaxgan.export.fidelity import to_torch_fidelity, z_size
from jaxgan.export.onnx_file import to_onnx
from jaxgan.export.stablehlo import to_stablehlo

__all__ = [
    "check_onnx",
    "check_stablehlo",
    "check_torch_fidelity",
    "to_onnx",
    "to_stablehlo",
    "to_torch_fidelity",
    "z_size",
]
