"""Scoring by what was promoted: needs NumPy, PyArrow, ONNX Runtime and, where an index was chosen, FAISS; never torch."""

from workbench.serving.bundle import Bundle
from workbench.serving.requests import Answer, Request

__all__ = ["Answer", "Bundle", "Request"]
