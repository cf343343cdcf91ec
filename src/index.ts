export type { Core } from './binding.js';
export type { Changes, DatapathConfig } from './configure.js';
export {
  type Abortable,
  Datapath,
  type DatapathEvents,
  type PortTypeInfo,
  type ReloadReport,
  type Trace,
} from './datapath.js';
export { DatapathError } from './errors.js';
export type {
  Action,
  ActionsLike,
  DumpFilter,
  Flow,
  FlowChange,
  FlowMatch,
  FlowSpec,
  FlowTable,
  MatchLike,
  PutOptions,
} from './flow.js';
export {
  formatActions,
  formatMatch,
  type Maskable,
  parseActions,
  parseMatch,
  type Ufid,
} from './odp/index.js';
export type { DatapathOptions, Topology } from './options.js';
export type {
  Generate,
  MemoryPort,
  Port,
  PortNumber,
  PortOf,
  PortRef,
  PortSpec,
  PortType,
} from './port.js';
export type { DatapathStats, DropReason, PmdStats, PortStats } from './stats.js';
export type { Upcall, UpcallBatch, UpcallHandler } from './upcall.js';
