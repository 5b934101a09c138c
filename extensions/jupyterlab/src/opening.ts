import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { PageConfig } from '@jupyterlab/coreutils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';

/** Where `workbench lab` names the notebook to run when it opens (docs/decisions/006). */
const OPTION = 'workbenchRun';

/**
 * Run the notebook that the server was started on, the first time it opens. The wish comes from the server's page
 * configuration and from nowhere else: neither a notebook nor a link may ask to be run.
 */
export const openingPlugin: JupyterFrontEndPlugin<void> = {
  id: 'exchange-workbench:opening',
  description: 'Runs the notebook that `workbench lab` was started on.',
  autoStart: true,
  requires: [INotebookTracker],
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker) => {
    const path = PageConfig.getOption(OPTION);
    if (!path) {
      return;
    }
    const { sessions } = app.serviceManager;
    // Looked up as soon as the server's sessions are known, which is before any notebook starts one of its own: a page
    // that is loaded again finds the kernel with all that the reader did in it, and must not run over that.
    const running = sessions.ready.then(() => [...sessions.running()].some(session => session.path === path));
    let done = false;
    tracker.widgetAdded.connect(async (_, panel) => {
      if (done || panel.context.localPath !== path) {
        return;
      }
      done = true;
      await panel.context.ready;
      if (await running) {
        return;
      }
      await panel.sessionContext.ready;
      await NotebookActions.runAll(panel.content, panel.sessionContext);
    });
  }
};
