/** Changes of flows that are encoded one by one, so that they can be compared before they are sent. */
import { checkIdleTimeout } from '../check.js';
import { encodeActions, encodeMatch, type PortNames, parseUfid } from '../odp/index.js';
import type { FlowSpec } from './types.js';

/** A match as netlink attributes. */
export interface Attributes {
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
}

/** Names a flow: by the 16 bytes of its ufid, or by its match. */
export type FlowName =
  | { readonly ufid: Uint8Array }
  | { readonly ufid?: undefined; readonly key: Uint8Array; readonly mask: Uint8Array };

export interface Put {
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
  readonly actions: Uint8Array;
  readonly ufid: Uint8Array | undefined;
  readonly idleTimeoutMs: number | undefined;
}

/** A deletion is the name of a flow. */
export type Change = Put | FlowName;

export interface PutMode {
  /** False: EEXIST if the flow is there. */
  readonly replace: boolean;
  /** False: ENOENT if it is not. */
  readonly create: boolean;
}
export const kAddOrReplace: PutMode = { replace: true, create: true };

export function encodePut(spec: FlowSpec, ports: PortNames): Put {
  const { key, mask, ufid: written } = encodeMatch(spec.match, ports);
  const ufid = spec.ufid ?? written;
  return {
    key,
    mask,
    actions: encodeActions(spec.actions, ports),
    ufid: ufid === undefined ? undefined : parseUfid(ufid),
    idleTimeoutMs: checkIdleTimeout(spec.idleTimeoutMs),
  };
}
