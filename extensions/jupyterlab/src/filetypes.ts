import type { DocumentRegistry } from '@jupyterlab/docregistry';

import { coremlIcon, nnefIcon, onnxIcon, workbenchIcon } from './icons';

/**
 * The models the workbench reads, as the file browser knows them. JupyterLab tells a folder from a file by
 * `contentType`, so a format that comes as either (NNEF) has a file type for each.
 */
export const MODEL_FILE_TYPES: ReadonlyArray<Partial<DocumentRegistry.IFileType> & { name: string }> = [
  {
    name: 'onnx',
    displayName: 'ONNX model',
    extensions: ['.onnx'],
    mimeTypes: ['application/x-onnx'],
    contentType: 'file',
    fileFormat: 'base64',
    icon: onnxIcon
  },
  {
    name: 'nnef',
    displayName: 'NNEF graph',
    extensions: ['.nnef'],
    mimeTypes: ['text/x-nnef'],
    contentType: 'file',
    fileFormat: 'text',
    icon: nnefIcon
  },
  {
    name: 'nnef-folder',
    displayName: 'NNEF model',
    extensions: ['.nnef'],
    contentType: 'directory',
    fileFormat: 'json',
    icon: nnefIcon
  },
  {
    name: 'nnef-archive',
    displayName: 'NNEF archive',
    extensions: ['.nnef.tgz'],
    mimeTypes: ['application/gzip'],
    contentType: 'file',
    fileFormat: 'base64',
    icon: nnefIcon
  },
  {
    name: 'mlmodel',
    displayName: 'Core ML model',
    extensions: ['.mlmodel'],
    mimeTypes: ['application/x-coreml'],
    contentType: 'file',
    fileFormat: 'base64',
    icon: coremlIcon
  },
  {
    name: 'mlpackage',
    displayName: 'Core ML package',
    extensions: ['.mlpackage'],
    contentType: 'directory',
    fileFormat: 'json',
    icon: coremlIcon
  },
  {
    name: 'mlmodelc',
    displayName: 'Compiled Core ML model',
    extensions: ['.mlmodelc'],
    contentType: 'directory',
    fileFormat: 'json',
    icon: coremlIcon
  }
];

/** The steps of a workbench, as it saves them. */
export const SESSION_FILE_TYPE: Partial<DocumentRegistry.IFileType> & { name: string } = {
  name: 'workbench-session',
  displayName: 'Conversion session',
  extensions: ['.workbench'],
  mimeTypes: ['application/json'],
  contentType: 'file',
  fileFormat: 'text',
  icon: workbenchIcon
};

type Entry = Parameters<DocumentRegistry['getFileTypeForModel']>[0];

/** Whether `registry` takes the entry of the file browser for one of our models. */
export function isModel(registry: DocumentRegistry, entry: Entry): boolean {
  const found = registry.getFileTypeForModel(entry).name;
  return MODEL_FILE_TYPES.some(type => type.name === found);
}

/** Whether the workbench opens it: a model, or a saved session. */
export function isSource(registry: DocumentRegistry, entry: Entry): boolean {
  return isModel(registry, entry) || registry.getFileTypeForModel(entry).name === SESSION_FILE_TYPE.name;
}
