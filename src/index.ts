export type { Core } from './binding.js';
export type { Changes, DatapathConfig } from './configure.js';
export {
  type Abortable,
  Datapath,
  type DatapathEvents,
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
} from './flow.js';
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
export type { Ports } from './port-table.js';
export type { DatapathStats, DropReason, PmdStats, PortStats } from './stats.js';
export type { Execution, Trace, TraceStep } from './trace.js';
export type { PortTrouble } from './trouble.js';
export type { InstalledFlow, Upcall, UpcallBatch, UpcallHandler } from './upcall.js';
export type { Wire } from './wire.js';
