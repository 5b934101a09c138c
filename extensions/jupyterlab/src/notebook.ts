import type { IDocumentManager } from '@jupyterlab/docmanager';
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import type { Contents, KernelSpec, ServiceManager } from '@jupyterlab/services';

const IMPORT = 'import workbench as wb';

/** The formats to convert to, as people and as Python call them, and the suffix that a model is written with. */
export const TARGETS: Record<string, { title: string; suffix: string }> = {
  onnx: { title: 'ONNX', suffix: '.onnx' },
  nnef: { title: 'NNEF', suffix: '.nnef' },
  coreml: { title: 'Core ML', suffix: '.mlpackage' }
};

/**
 * A text as Python reads it. A file name is anything its author wanted, so it enters the code as data only: what
 * `JSON.stringify` writes is also a Python string literal (the same escapes, and it escapes every quote, backslash,
 * line end and lone surrogate).
 */
const python = (text: string): string => JSON.stringify(text);

/** The cells that show the workbench, on the model at `path` (relative to the notebook) or on none. */
export function workbenchCells(path?: string): string[] {
  return [`${IMPORT}\n\nwb.Workbench(${path === undefined ? '' : python(path)})`];
}

/** The cells that open a model and look at it. */
export function modelCells(path: string): string[] {
  return [`${IMPORT}\n\nmodel = wb.load(${python(path)})\nmodel`, 'wb.Workbench(model)'];
}

const judged = (tolerance: number): string => (tolerance > 0 ? `, tolerance=${tolerance}` : '');

/** The cells that convert a model, compare it with what came of it layer by layer, and write it. */
export function convertCells(path: string, target: string, tolerance: number): string[] {
  const stem = path.replace(/(\.nnef)?\.[^./]+$/, '') || path;
  const suffix = TARGETS[target]?.suffix ?? '';
  const written = `${stem}${suffix}` === path ? `${stem}-converted${suffix}` : `${stem}${suffix}`;
  return [
    `${IMPORT}\n\nmodel = wb.load(${python(path)})\nmodel`,
    `plan = model.plan(${python(target)})\nplan`,
    `converted = model.convert(${python(target)})\nconverted`,
    `report = wb.compare(model, converted${judged(tolerance)})\nreport`,
    `converted.save(${python(written)})`
  ];
}

/** The cells that compare two models layer by layer; the first is the reference. */
export function compareCells(reference: string, target: string, tolerance: number): string[] {
  return [
    `${IMPORT}\n\nreference = wb.load(${python(reference)})\ntarget = wb.load(${python(target)})`,
    `report = wb.compare(reference, target${judged(tolerance)})\nreport`,
    'report.plot()'
  ];
}

/** The server's default kernel if that speaks Python, else the first one that does. */
export function pythonKernel(specs: KernelSpec.ISpecModels | null): KernelSpec.ISpecModel {
  const all = Object.values(specs?.kernelspecs ?? {}).filter(spec => spec?.language === 'python');
  const chosen = all.find(spec => spec?.name === specs?.default) ?? all[0];
  if (!chosen) {
    throw new Error('This server has no Python kernel. Install ipykernel where the server runs.');
  }
  return chosen;
}

function notebookContent(cells: string[], kernel: KernelSpec.ISpecModel): Contents.IModel['content'] {
  return {
    metadata: {
      kernelspec: { name: kernel.name, display_name: kernel.display_name, language: kernel.language }
    },
    nbformat: 4,
    nbformat_minor: 5,
    cells: cells.map((source, at) => ({
      cell_type: 'code',
      id: `workbench-${at}`,
      execution_count: null,
      metadata: {},
      outputs: [],
      source
    }))
  };
}

/**
 * Write a notebook of these cells into `folder`, open it and run it.
 *
 * The notebook is complete on disk before it is opened: Notebook 7 opens it in a page of its own, where this page has
 * no hold on it. There the reader runs the cells; a notebook that ran itself when opened would be a way in for others.
 */
export async function openNotebook(
  cells: string[],
  folder: string,
  services: ServiceManager.IManager,
  documents: IDocumentManager
): Promise<void> {
  await services.kernelspecs.ready;
  const kernel = pythonKernel(services.kernelspecs.specs);
  const { path } = await services.contents.newUntitled({ path: folder, type: 'notebook', ext: '.ipynb' });
  await services.contents.save(path, {
    type: 'notebook',
    format: 'json',
    content: notebookContent(cells, kernel)
  });
  const panel = documents.openOrReveal(path, 'Notebook');
  if (panel instanceof NotebookPanel) {
    await panel.context.ready;
    await panel.sessionContext.ready;
    await NotebookActions.runAll(panel.content, panel.sessionContext);
  }
}
