/**
 * `pollux/odp`: the flow language by itself, text and objects, without the addon. It works wherever Node
 * does.
 */
export { DatapathError } from './errors.js';
export {
  type Action,
  type ActionsLike,
  type CtNat,
  type FlowMatch,
  type FormatOptions,
  formatActions,
  formatMatch,
  type GeneveOption,
  type KnownAction,
  type Maskable,
  type MatchLike,
  type PortNames,
  type PortRefLike,
  parseActions,
  parseMatch,
  type TunnelHeader,
  type Ufid,
  type UserspaceCookie,
} from './odp/index.js';
