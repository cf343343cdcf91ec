export type { Core } from './binding.js';
export type { Changes, DatapathConfig } from './configure.js';
export {
  type Abortable,
  Datapath,
  type PortTypeInfo,
  type ReloadReport,
} from './datapath.js';
export { type DoctorFinding, type DoctorPortType, type DoctorReport, doctor } from './doctor.js';
export { DatapathError } from './errors.js';
export type {
  Action,
  ActionsLike,
  DumpFilter,
  Flow,
  FlowChange,
  FlowMatch,
  FlowRef,
  FlowRemoval,
  FlowSpec,
  FlowTable,
  MatchLike,
  PutOptions,
} from './flows/types.js';
export type { DatapathEvents } from './news.js';
export {
  type CtNat,
  formatActions,
  formatMatch,
  type GeneveOption,
  type KnownAction,
  type Maskable,
  parseActions,
  parseMatch,
  type TunnelHeader,
  type Ufid,
  type UserspaceCookie,
} from './odp/index.js';
export type { DatapathOptions, Topology } from './options.js';
export type { Ports } from './ports/table.js';
export type { PortTrouble } from './ports/trouble.js';
export type {
  Generate,
  MemoryPort,
  Port,
  PortNumber,
  PortOf,
  PortRef,
  PortSpec,
  PortType,
} from './ports/types.js';
export type { DatapathStats, DropReason, PmdStats, PortStats } from './stats.js';
export type { Execution, Trace, TraceStep } from './trace.js';
export type { InstalledFlow, Upcall, UpcallBatch, UpcallHandler } from './upcalls/types.js';
export type { Wire } from './wire.js';
