// The package's types satisfy the contract: `tsc --noEmit` is the test. pollux.d.ts here is the
// contract, word for word.
import type * as pollux from '../../src/index.js';
import type * as contract from './pollux.js';

/** Compiles only if Ours can be used wherever Theirs is asked for. */
type Satisfies<Theirs, Ours extends Theirs> = Ours;

export type Module = Satisfies<typeof contract, typeof pollux>;

// What users write down as a type: ours where the contract's is asked for, and, for what they pass
// in, the reverse.
export type Outward = [
  Satisfies<contract.Datapath, pollux.Datapath>,
  Satisfies<contract.DatapathError, pollux.DatapathError>,
  Satisfies<contract.Port, pollux.Port>,
  Satisfies<contract.MemoryPort, pollux.MemoryPort>,
  Satisfies<contract.PortStats, pollux.PortStats>,
  Satisfies<contract.Flow, pollux.Flow>,
  Satisfies<contract.FlowTable, pollux.FlowTable>,
  Satisfies<contract.Upcall, pollux.Upcall>,
  Satisfies<contract.UpcallBatch, pollux.UpcallBatch>,
  Satisfies<contract.DatapathStats, pollux.DatapathStats>,
  Satisfies<contract.PmdStats, pollux.PmdStats>,
  Satisfies<contract.DropReason, pollux.DropReason>,
  Satisfies<contract.ReloadReport, pollux.ReloadReport>,
  Satisfies<contract.Changes, pollux.Changes>,
  Satisfies<contract.Trace, pollux.Trace>,
  Satisfies<contract.DatapathEvents, pollux.DatapathEvents>,
  Satisfies<contract.PortOf<{ type: 'memory'; name: string }>, pollux.MemoryPort>,
];
export type Inward = [
  Satisfies<pollux.DatapathOptions, contract.DatapathOptions>,
  Satisfies<pollux.DatapathConfig, contract.DatapathConfig>,
  Satisfies<pollux.Topology, contract.Topology>,
  Satisfies<pollux.PortSpec, contract.PortSpec>,
  Satisfies<pollux.PortType, contract.PortType>,
  Satisfies<pollux.PortNumber, contract.PortNumber>,
  Satisfies<pollux.PortRef, contract.PortRef>,
  Satisfies<pollux.Abortable, contract.Abortable>,
  Satisfies<pollux.FlowSpec, contract.FlowSpec>,
  Satisfies<pollux.FlowMatch, contract.FlowMatch>,
  Satisfies<pollux.MatchLike, contract.MatchLike>,
  Satisfies<pollux.Action, contract.Action>,
  Satisfies<pollux.ActionsLike, contract.ActionsLike>,
  Satisfies<pollux.Maskable<number>, contract.Maskable<number>>,
  Satisfies<pollux.Ufid, contract.Ufid>,
  Satisfies<pollux.UpcallHandler, contract.UpcallHandler>,
];
