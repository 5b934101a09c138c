import type { IDocumentManager } from '@jupyterlab/docmanager';
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import type { Contents, KernelSpec, ServiceManager } from '@jupyterlab/services';

/**
 * The Python that shows the workbench, on the model at `path` (relative to the notebook) or on none.
 *
 * A file name is anything its author wanted, so it enters the code as data only: what `JSON.stringify` writes is also
 * a Python string literal (the same escapes, and it escapes every quote, backslash, line end and lone surrogate).
 */
export function workbenchCode(path?: string): string {
  const argument = path === undefined ? '' : JSON.stringify(path);
  return `import workbench as wb\n\nwb.Workbench(${argument})`;
}

/** The server's default kernel if that speaks Python, else the first one that does. */
function pythonKernel(specs: KernelSpec.ISpecModels | null): KernelSpec.ISpecModel {
  const all = Object.values(specs?.kernelspecs ?? {}).filter(spec => spec?.language === 'python');
  const chosen = all.find(spec => spec?.name === specs?.default) ?? all[0];
  if (!chosen) {
    throw new Error('This server has no Python kernel. Install ipykernel where the server runs.');
  }
  return chosen;
}

function notebookContent(code: string, kernel: KernelSpec.ISpecModel): Contents.IModel['content'] {
  return {
    metadata: {
      kernelspec: { name: kernel.name, display_name: kernel.display_name, language: kernel.language }
    },
    nbformat: 4,
    nbformat_minor: 5,
    cells: [
      { cell_type: 'code', id: 'workbench', execution_count: null, metadata: {}, outputs: [], source: code }
    ]
  };
}

/**
 * Write a notebook with one cell of `code` into `folder`, open it and run it.
 *
 * The notebook is complete on disk before it is opened: Notebook 7 opens it in a page of its own, where this page has
 * no hold on it. There the reader runs the cell; a notebook that ran itself when opened would be a way in for others.
 */
export async function openNotebook(
  code: string,
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
    content: notebookContent(code, kernel)
  });
  const panel = documents.openOrReveal(path, 'Notebook');
  if (panel instanceof NotebookPanel) {
    await panel.context.ready;
    await panel.sessionContext.ready;
    await NotebookActions.runAll(panel.content, panel.sessionContext);
  }
}
