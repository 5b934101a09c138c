"""Core ML's kinds of model that are no neural network: one module a family, all of them lowered to plain operators."""

from workbench.formats.coreml.classical import encoders, linear, suppression, svm, trees
from workbench.formats.coreml.classical.form import ClassicalForm
from workbench.formats.coreml.classical.table import kinds

__all__ = ["ClassicalForm", "encoders", "kinds", "linear", "suppression", "svm", "trees"]
