import { LabIcon } from '@jupyterlab/ui-components';

/**
 * A small feed-forward graph. JupyterLab's `jp-icon*` classes colour it, so it follows the light and the dark theme;
 * the `fill` attribute is what is seen where no theme is loaded.
 */
const graph = (themeClass: string, fill: string): string => `
<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16">
  <g class="${themeClass}" fill="${fill}">
    <path d="M3.9 5.1 11.6 7.4 11.4 8.6 3.6 5.8z M3.6 10.2 11.4 7.4 11.6 8.6 3.9 10.9z"/>
    <circle cx="3.2" cy="4.8" r="2.2"/>
    <circle cx="3.2" cy="11.2" r="2.2"/>
    <circle cx="12.4" cy="8" r="2.6"/>
  </g>
</svg>`;

export const workbenchIcon = new LabIcon({
  name: 'exchange-workbench:workbench',
  svgstr: graph('jp-icon-brand0', '#0d47a1')
});

export const onnxIcon = new LabIcon({
  name: 'exchange-workbench:onnx',
  svgstr: graph('jp-icon-contrast3 jp-icon-selectable', '#1e88e5')
});

export const nnefIcon = new LabIcon({
  name: 'exchange-workbench:nnef',
  svgstr: graph('jp-icon-contrast2 jp-icon-selectable', '#d81b60')
});

export const coremlIcon = new LabIcon({
  name: 'exchange-workbench:coreml',
  svgstr: graph('jp-icon-contrast1 jp-icon-selectable', '#43a047')
});
