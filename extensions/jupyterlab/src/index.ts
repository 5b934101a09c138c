import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';

import { ModelCardFactory, NoContentModelFactory } from './document';
import { isModel, MODEL_FILE_TYPES } from './filetypes';
import { workbenchIcon } from './icons';
import { openNotebook, workbenchCode } from './notebook';
import { openingPlugin } from './opening';

namespace CommandIDs {
  /** Open the workbench on `args.path`, or on the models selected in the file browser. */
  export const open = 'exchange-workbench:open';
  /** Open an empty workbench in the folder `args.cwd`. */
  export const create = 'exchange-workbench:create';
}

const modelsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'exchange-workbench:models',
  description: 'File types for ONNX, NNEF and Core ML models, and the ways to open them in the Conversion Workbench.',
  autoStart: true,
  requires: [IDocumentManager],
  // Optional, since Notebook 7 has no launcher and its pages other than the file tree have no file browser.
  optional: [IFileBrowserFactory, ILauncher, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    documents: IDocumentManager,
    browsers: IFileBrowserFactory | null,
    launcher: ILauncher | null,
    palette: ICommandPalette | null
  ) => {
    const { commands, contextMenu, docRegistry, serviceManager } = app;

    const show = async (folder: string, path?: string): Promise<void> => {
      try {
        await openNotebook(workbenchCode(path), folder, serviceManager, documents);
      } catch (error) {
        await showErrorMessage('Cannot open the Conversion Workbench', error as Error);
      }
    };

    const selectedModels = (): string[] =>
      [...(browsers?.tracker.currentWidget?.selectedItems() ?? [])]
        .filter(entry => isModel(docRegistry, entry))
        .map(entry => entry.path);

    commands.addCommand(CommandIDs.open, {
      label: 'Open in Conversion Workbench',
      caption: 'Inspect, convert and compare this model in a notebook',
      icon: workbenchIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: { path: { type: 'string', description: 'The model; by default those selected in the file browser' } }
        }
      },
      execute: async args => {
        const paths = typeof args.path === 'string' ? [args.path] : selectedModels();
        for (const path of paths) {
          // The notebook goes beside the model, so that the model's name is its path seen from there.
          const name = PathExt.basename(serviceManager.contents.localPath(path));
          await show(path.slice(0, path.length - name.length), name);
        }
      }
    });

    commands.addCommand(CommandIDs.create, {
      label: args => (args.isPalette ? 'New Conversion Workbench' : 'Conversion Workbench'),
      caption: 'Convert and compare models between ONNX, NNEF and Core ML',
      icon: args => (args.isPalette ? undefined : workbenchIcon),
      describedBy: {
        args: {
          type: 'object',
          properties: { cwd: { type: 'string', description: 'The folder of the new notebook' } }
        }
      },
      execute: args => show(typeof args.cwd === 'string' ? args.cwd : browsers?.tracker.currentWidget?.model.path ?? '')
    });

    for (const type of MODEL_FILE_TYPES) {
      docRegistry.addFileType(type);
      // The listing writes the file type on each row, so the menu needs no guess about the selection.
      contextMenu.addItem({
        command: CommandIDs.open,
        selector: `.jp-DirListing-item[data-file-type="${type.name}"]`,
        rank: 1
      });
    }

    docRegistry.addModelFactory(new NoContentModelFactory());
    docRegistry.addWidgetFactory(
      new ModelCardFactory(
        MODEL_FILE_TYPES.filter(type => type.fileFormat === 'base64').map(type => type.name),
        docRegistry,
        serviceManager.contents,
        path => void commands.execute(CommandIDs.open, { path })
      )
    );

    launcher?.add({ command: CommandIDs.create, category: 'Other', rank: 1 });
    palette?.addItem({ command: CommandIDs.create, category: 'Conversion Workbench', args: { isPalette: true } });
  }
};

export default [modelsPlugin, openingPlugin];
