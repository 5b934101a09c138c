import type { JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, showErrorMessage } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import { FileDialog, type IFileBrowserFactory } from '@jupyterlab/filebrowser';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';

import { isModel, isSource } from './filetypes';
import { workbenchIcon } from './icons';
import { ModelInspector } from './inspector';
import { compareCells, convertCells, modelCells, openNotebook, TARGETS, workbenchCells } from './notebook';

export namespace CommandIDs {
  /** Open the workbench on `args.path`, or on the models selected in the file browser. */
  export const open = 'exchange-workbench:open';
  /** Open an empty workbench in the folder `args.cwd`. */
  export const create = 'exchange-workbench:create';
  /** Show summary, layers and graph of `args.path`, or of the models selected, without a notebook. */
  export const inspect = 'exchange-workbench:inspect';
  /** Write and run a notebook that opens the model. */
  export const notebook = 'exchange-workbench:notebook';
  /** Write and run a notebook that converts the model to `args.target`; by default what the settings say. */
  export const convert = 'exchange-workbench:convert';
  /** Write and run a notebook that compares two models: the selected ones, or the selected one and one to choose. */
  export const compare = 'exchange-workbench:compare';
}

const PATH = { type: 'string', description: 'The model; by default those selected in the file browser' };

/** What the commands do: find the models that are meant, and write notebooks beside them. */
export class Commands {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly documents: IDocumentManager,
    private readonly browsers: IFileBrowserFactory | null,
    private readonly settings: Promise<ISettingRegistry.ISettings | undefined>
  ) {}

  register(): void {
    const described = (properties: object): { args: any } => ({ args: { type: 'object', properties } });
    const add = (id: string, label: string, caption: string, execute: (args: any) => Promise<void>, properties = {}): void => {
      this.app.commands.addCommand(id, {
        label,
        caption,
        icon: workbenchIcon,
        describedBy: described({ path: PATH, ...properties }),
        execute: async args => {
          try {
            await execute(args);
          } catch (error) {
            await showErrorMessage(label, error as Error);
          }
        }
      });
    };
    add(CommandIDs.open, 'Open in Conversion Workbench', 'Inspect, convert and compare this model in a notebook', args =>
      this.each(args, (folder, name) => this.write(folder, workbenchCells(name)), isSource)
    );
    add(CommandIDs.inspect, 'Inspect Model', 'Its summary, layers and graph', args =>
      this.each(args, (folder, name) => this.inspect(PathExt.join(folder, name)))
    );
    add(CommandIDs.notebook, 'Open Model in Notebook', 'Write a notebook that opens this model', args =>
      this.each(args, (folder, name) => this.write(folder, modelCells(name)))
    );
    add(
      CommandIDs.convert,
      'Convert Model',
      'Write a notebook that converts this model, compares it layer by layer, and saves it',
      async args => {
        const { target, tolerance } = await this.preferences();
        const wanted = typeof args.target === 'string' ? args.target : target;
        await this.each(args, (folder, name) => this.write(folder, convertCells(name, wanted, tolerance)));
      },
      { target: { type: 'string', enum: Object.keys(TARGETS), description: 'The format; by default that of the settings' } }
    );
    add(CommandIDs.compare, 'Compare Models…', 'Compare two models layer by layer; the first one is the reference', args =>
      this.compare(args)
    );
    this.app.commands.addCommand(CommandIDs.create, {
      label: args => (args.isPalette ? 'New Conversion Workbench' : 'Conversion Workbench'),
      caption: 'Convert and compare models between ONNX, NNEF and Core ML',
      icon: args => (args.isPalette ? undefined : workbenchIcon),
      describedBy: described({ cwd: { type: 'string', description: 'The folder of the new notebook' } }),
      execute: async args => {
        const folder = typeof args.cwd === 'string' ? args.cwd : (this.browsers?.tracker.currentWidget?.model.path ?? '');
        try {
          await this.write(folder, workbenchCells());
        } catch (error) {
          await showErrorMessage('Cannot open the Conversion Workbench', error as Error);
        }
      }
    });
  }

  private async preferences(): Promise<{ target: string; tolerance: number }> {
    const composite = (await this.settings)?.composite ?? {};
    return { target: String(composite.target ?? 'coreml'), tolerance: Number(composite.tolerance ?? 0) };
  }

  private models(args: { path?: unknown }, fits = isModel): string[] {
    if (typeof args.path === 'string') {
      return [args.path];
    }
    const selected = [...(this.browsers?.tracker.currentWidget?.selectedItems() ?? [])]
      .filter(entry => fits(this.app.docRegistry, entry))
      .map(entry => entry.path);
    if (!selected.length) {
      throw new Error('Select an ONNX, NNEF or Core ML model in the file browser first.');
    }
    return selected;
  }

  /** Do something for each model, given its folder and its name there. */
  private async each(
    args: { path?: unknown },
    act: (folder: string, name: string) => Promise<void>,
    fits = isModel
  ): Promise<void> {
    for (const path of this.models(args, fits)) {
      const name = PathExt.basename(this.local(path));
      await act(path.slice(0, path.length - name.length), name);
    }
  }

  private async compare(args: { path?: unknown }): Promise<void> {
    const models = this.models(args);
    if (models.length === 1) {
      const chosen = await FileDialog.getOpenFiles({
        manager: this.documents,
        title: `Compare ${PathExt.basename(models[0] ?? '')} with`,
        filter: entry => (entry.type === 'directory' || isModel(this.app.docRegistry, entry) ? {} : null)
      });
      models.push(...(chosen.value ?? []).map(entry => entry.path));
      if (models.length === 1) {
        return;
      }
    }
    const [reference, target] = models;
    if (models.length !== 2 || reference === undefined || target === undefined) {
      throw new Error(`Two models are compared; ${models.length} are selected.`);
    }
    const name = PathExt.basename(this.local(reference));
    const folder = reference.slice(0, reference.length - name.length);
    const seen = PathExt.relative(this.local(folder), this.local(target));
    await this.write(folder, compareCells(name, seen, (await this.preferences()).tolerance));
  }

  /** A document for a file; a panel of its own for a model that is a folder. */
  private async inspect(path: string): Promise<void> {
    const entry = await this.app.serviceManager.contents.get(path, { content: false });
    if (entry.type !== 'directory') {
      this.documents.openOrReveal(path, 'Model');
      return;
    }
    let shown = this.inspectors.get(path);
    if (!shown || shown.isDisposed) {
      const content = new ModelInspector(path, this.app.serviceManager, () => {
        void this.app.commands.execute(CommandIDs.open, { path });
      });
      shown = new MainAreaWidget({ content });
      this.inspectors.set(path, shown);
      this.app.shell.add(shown, 'main');
    }
    if (!shown.isAttached) {
      // Notebook 7 gives each document a page of its own, and has none for what is no file: there a notebook shows it.
      shown.dispose();
      const name = PathExt.basename(this.local(path));
      await this.write(path.slice(0, path.length - name.length), workbenchCells(name));
      return;
    }
    this.app.shell.activateById(shown.id);
  }

  private write(folder: string, cells: string[]): Promise<void> {
    return openNotebook(cells, folder, this.app.serviceManager, this.documents);
  }

  private local(path: string): string {
    return this.app.serviceManager.contents.localPath(path);
  }

  /** The panels of models that are folders, by path: each is shown once. */
  private readonly inspectors = new Map<string, MainAreaWidget<ModelInspector>>();
}
