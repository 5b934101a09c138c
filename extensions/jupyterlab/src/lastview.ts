import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import type { CodeCell } from '@jupyterlab/cells';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { Panel, Widget } from '@lumino/widgets';

const HTML = 'text/html';
const GONE = 'The kernel that made this has ended. Below is what it showed last; run the cell to go on.';

/** An output whose widget no kernel knows any more: ipywidgets leaves an element with a message and nothing in it. */
function isLost(node: Node): node is HTMLElement {
  return (
    node instanceof HTMLElement &&
    node.classList.contains('jp-OutputArea-output') &&
    node.classList.contains('jupyter-widgets') &&
    node.firstElementChild === null &&
    node.textContent !== ''
  );
}

/** Put the output's own HTML in the place of the message, if it has any. */
async function showLastView(panel: NotebookPanel, node: HTMLElement): Promise<void> {
  for (const cell of panel.content.widgets) {
    if (cell.model.type !== 'code' || !cell.node.contains(node)) {
      continue;
    }
    const { outputArea } = cell as CodeCell;
    for (const [at, place] of outputArea.widgets.entries()) {
      const output = outputArea.model.get(at);
      const lost = place instanceof Panel ? place.widgets.find(child => child.node === node) : undefined;
      if (!lost || lost.isHidden || !output?.data[HTML]) {
        continue;
      }
      lost.hide();
      const note = new Widget();
      note.node.textContent = GONE;
      note.node.setAttribute('role', 'note');
      Object.assign(note.node.style, { color: 'var(--jp-ui-font-color2)', padding: '8px 0' });
      const still = panel.content.rendermime.createRenderer(HTML); // as careful as with any output that is not trusted
      const both = new Panel();
      both.addClass('jp-OutputArea-output');
      both.addWidget(note);
      both.addWidget(still);
      (place as Panel).addWidget(both);
      await still.renderModel(output);
    }
  }
}

/**
 * In place of "model not found", which is what a notebook says after its kernel has ended: the HTML that a widget gives
 * beside itself. A widget that gives none keeps its message.
 */
export const lastViewPlugin: JupyterFrontEndPlugin<void> = {
  id: 'exchange-workbench:last-view',
  description: 'Shows the last state of a widget where its kernel has ended.',
  autoStart: true,
  requires: [INotebookTracker],
  activate: (_: JupyterFrontEnd, tracker: INotebookTracker) => {
    const watch = (panel: NotebookPanel): void => {
      const observer = new MutationObserver(changes => {
        const lost = new Set(changes.map(change => change.target).filter(isLost));
        lost.forEach(node => void showLastView(panel, node));
      });
      observer.observe(panel.content.node, { childList: true, subtree: true });
      panel.disposed.connect(() => observer.disconnect());
    };
    tracker.forEach(watch);
    tracker.widgetAdded.connect((_, panel) => watch(panel));
  }
};
