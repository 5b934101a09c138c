import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { MenuSvg } from '@jupyterlab/ui-components';

import { CommandIDs, Commands } from './commands';
import { ModelDocumentFactory, NoContentModelFactory } from './document';
import { MODEL_FILE_TYPES, SESSION_FILE_TYPE } from './filetypes';
import { lastViewPlugin } from './lastview';
import { TARGETS } from './notebook';
import { openingPlugin } from './opening';

const CATEGORY = 'Conversion Workbench';

const modelsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'exchange-workbench:models',
  description: 'File types for ONNX, NNEF and Core ML models, and the ways to open them in the Conversion Workbench.',
  autoStart: true,
  requires: [IDocumentManager],
  // Optional, since Notebook 7 has no launcher and its pages other than the file tree have no file browser.
  optional: [IFileBrowserFactory, ILauncher, ICommandPalette, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    documents: IDocumentManager,
    browsers: IFileBrowserFactory | null,
    launcher: ILauncher | null,
    palette: ICommandPalette | null,
    registry: ISettingRegistry | null
  ) => {
    // Without its schema (an installation that is not complete) the defaults hold.
    const settings = registry?.load(modelsPlugin.id).catch(() => undefined) ?? Promise.resolve(undefined);
    new Commands(app, documents, browsers, settings).register();
    addFileTypes(app);
    addMenus(app);
    if (browsers) {
      openPackages(app, browsers);
    }
    launcher?.add({ command: CommandIDs.create, category: 'Other', rank: 1 });
    palette?.addItem({ command: CommandIDs.create, category: CATEGORY, args: { isPalette: true } });
    for (const command of [CommandIDs.open, CommandIDs.inspect, CommandIDs.notebook, CommandIDs.convert, CommandIDs.compare]) {
      palette?.addItem({ command, category: CATEGORY });
    }
  }
};

function addFileTypes(app: JupyterFrontEnd): void {
  const { commands, docRegistry, serviceManager } = app;
  [...MODEL_FILE_TYPES, SESSION_FILE_TYPE].forEach(type => docRegistry.addFileType(type));
  const files = MODEL_FILE_TYPES.filter(type => type.fileFormat === 'base64').map(type => type.name);
  docRegistry.addModelFactory(new NoContentModelFactory());
  docRegistry.addWidgetFactory(
    new ModelDocumentFactory(files, serviceManager, path => void commands.execute(CommandIDs.open, { path }))
  );
}

/** The listing writes the file type on each row, so the menu needs no guess about the selection. */
function addMenus(app: JupyterFrontEnd): void {
  const { commands, contextMenu } = app;
  const targets = new MenuSvg({ commands });
  targets.title.label = 'Convert to';
  for (const [target, { title }] of Object.entries(TARGETS)) {
    const command = `${CommandIDs.convert}-to-${target}`;
    commands.addCommand(command, {
      label: title,
      describedBy: { args: {} },
      execute: () => commands.execute(CommandIDs.convert, { target })
    });
    targets.addItem({ command });
  }
  for (const { name } of MODEL_FILE_TYPES) {
    const selector = `.jp-DirListing-item[data-file-type="${name}"]`;
    contextMenu.addItem({ command: CommandIDs.open, selector, rank: 1.05 }); // behind “Open”, which is 1
    contextMenu.addItem({ command: CommandIDs.inspect, selector, rank: 1.1 });
    contextMenu.addItem({ command: CommandIDs.notebook, selector, rank: 1.2 });
    contextMenu.addItem({ type: 'submenu', submenu: targets, selector, rank: 1.3 });
    contextMenu.addItem({ command: CommandIDs.compare, selector, rank: 1.4 });
  }
  const session = `.jp-DirListing-item[data-file-type="${SESSION_FILE_TYPE.name}"]`;
  contextMenu.addItem({ command: CommandIDs.open, selector: session, rank: 1.05 });
}

/**
 * A double click shows a model that is a folder as it shows one that is a file. What is in the folder is a click away:
 * “Open” in the context menu enters it.
 */
function openPackages(app: JupyterFrontEnd, browsers: IFileBrowserFactory): void {
  const folders = MODEL_FILE_TYPES.filter(type => type.contentType === 'directory').map(type => type.name);
  const onDoubleClick = (event: MouseEvent): void => {
    const target = event.target as Element;
    const row = target.closest<HTMLElement>('.jp-DirListing-item');
    if (row && target.closest('input') === null && folders.includes(row.dataset.fileType ?? '')) {
      event.preventDefault();
      event.stopPropagation();
      void app.commands.execute(CommandIDs.inspect);
    }
  };
  const watch = (browser: { node: HTMLElement }): void => browser.node.addEventListener('dblclick', onDoubleClick, true);
  browsers.tracker.forEach(watch);
  browsers.tracker.widgetAdded.connect((_, browser) => watch(browser));
}

export default [modelsPlugin, openingPlugin, lastViewPlugin];
