"""The workbench in notebooks: five steps over one session, together or each by itself."""

from workbench.widgets.compare_step import Compare
from workbench.widgets.convert_step import Convert
from workbench.widgets.export_step import Export
from workbench.widgets.import_step import Import
from workbench.widgets.inspect_step import Inspect
from workbench.widgets.model_document import ModelDocument
from workbench.widgets.workbench import Workbench

__all__ = ["Compare", "Convert", "Export", "Import", "Inspect", "ModelDocument", "Workbench"]
