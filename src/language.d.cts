// As index.d.cts, for `pollux/odp`.
import type * as language from './language.js' with { 'resolution-mode': 'import' };

export type * from './language.js' with { 'resolution-mode': 'import' };
export declare const DatapathError: typeof language.DatapathError;
export type DatapathError = language.DatapathError;
export declare const formatActions: typeof language.formatActions;
export declare const formatMatch: typeof language.formatMatch;
export declare const parseActions: typeof language.parseActions;
export declare const parseMatch: typeof language.parseMatch;
