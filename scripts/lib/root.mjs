import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The top of the clone; every script works from there, whatever the current directory is. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const inRoot = (...parts) => join(root, ...parts);
