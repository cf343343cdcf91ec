/** The table: every group of fields. compile.ts says what it is for and makes it ready for use. */
import type { GroupSpec } from './columns.js';
import { kHeaderSpecs } from './headers.js';
import { kMetadataSpecs } from './metadata.js';

/** Every group, in the order of Open vSwitch's output. */
export const kGroupSpecs = [
  ...kMetadataSpecs,
  ...kHeaderSpecs,
] as const satisfies readonly GroupSpec[];
