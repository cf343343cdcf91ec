// Types for programs of CommonJS: what `require('pollux')` gives, where Node can require modules.
import type * as pollux from './index.js' with { 'resolution-mode': 'import' };

export type * from './index.js' with { 'resolution-mode': 'import' };
export declare const Datapath: typeof pollux.Datapath;
export type Datapath = pollux.Datapath;
export declare const DatapathError: typeof pollux.DatapathError;
export type DatapathError = pollux.DatapathError;
export declare const doctor: typeof pollux.doctor;
export declare const formatActions: typeof pollux.formatActions;
export declare const formatMatch: typeof pollux.formatMatch;
export declare const parseActions: typeof pollux.parseActions;
export declare const parseMatch: typeof pollux.parseMatch;
