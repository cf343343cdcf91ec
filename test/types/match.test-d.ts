// What the compiler knows of a match: every group of the field table, what a value may be, and that
// a header is matched only where it can be. `tsc --noEmit` is the test.
import type { Datapath, FlowMatch, FlowSpec, MatchLike } from '../../src/index.js';
import type { SettableGroups } from '../../src/odp/index.js';
import type * as contract from './pollux.js';

declare const datapath: Datapath;

// ---------- a port needs a protocol

export const good: readonly FlowMatch[] = [
  { inPort: 1, ipv4: {}, tcp: { dst: 80 } },
  { inPort: 1, ipv4: { proto: 6 }, tcp: { dst: 80 }, tcpFlags: '+syn' },
  { inPort: 1, ipv6: {}, udp: { src: { value: 1, mask: 3 } } },
  { inPort: 1, ethType: 0x0800, sctp: {} },
  { inPort: 'eth0', vlan: { vid: 5 }, ethType: 0x86dd, tcp: { dst: 80 } },
  { inPort: 1, vlan: { any: true } },
  { inPort: 1, vlan: { vid: 5 }, cvlan: { any: true }, ipv4: { dst: '10.0.0.0/8' } },
  { inPort: 1, packetType: { ns: 1, id: 0x0800 }, tcp: { dst: 80 } },
  // Only one version of IP carries these.
  { inPort: 1, icmp: { type: 8 } },
  { inPort: 1, icmpv6: { type: 128 } },
  { inPort: 1, icmpv6: { type: 135 }, nd: { target: 'fe80::1' }, ndExt: { ndOptionsType: 1 } },
];

// @ts-expect-error TCP, but over what?
export const tcp: FlowMatch = { inPort: 1, tcp: { dst: 80 } };
// @ts-expect-error
export const tcpFlags: FlowMatch = { inPort: 1, tcpFlags: 2 };
// @ts-expect-error
export const udp: FlowMatch = { inPort: 1, udp: {} };
// @ts-expect-error
export const sctp: FlowMatch = { inPort: 1, sctp: { src: 1 } };
// @ts-expect-error A tag says nothing of what is behind it.
export const tagged: FlowMatch = { inPort: 1, eth: {}, vlan: { vid: 1 }, tcp: { dst: 80 } };
// @ts-expect-error
export const tunneled: FlowMatch = { inPort: 1, tunnel: { tunId: 5n }, udp: { dst: 53 } };
// @ts-expect-error
export const nd: FlowMatch = { inPort: 1, ipv6: {}, nd: { target: 'fe80::1' } };
// @ts-expect-error
export const ndExt: FlowMatch = { inPort: 1, ipv6: { proto: 58 }, ndExt: { ndReserved: 0 } };
// @ts-expect-error ND is ICMPv6, never TCP.
export const both: FlowMatch = { inPort: 1, icmpv6: {}, nd: {}, tcp: {} };
// @ts-expect-error Tags alone are any or none.
export const anyEth: FlowMatch = { inPort: 1, eth: 'any' };

export function everywhere(): void {
  datapath.flows.put({ inPort: 1, ipv4: {}, tcp: { dst: 80 } }, 'drop');
  // @ts-expect-error
  datapath.flows.put({ inPort: 1, tcp: { dst: 80 } }, 'drop');
  // @ts-expect-error
  datapath.flows.delete({ inPort: 1, udp: { dst: 80 } });
  // @ts-expect-error
  datapath.flows.get({ inPort: 1, nd: {} });
  // @ts-expect-error
  datapath.flows.apply([{ put: { match: { inPort: 1, tcp: { dst: 80 } }, actions: [] } }]);
  // @ts-expect-error
  void datapath.configure({ flows: [{ match: { inPort: 1, sctp: {} }, actions: 'drop' }] });
}

// ---------- what a value may be

export const values: FlowMatch = {
  inPort: 1,
  recircId: 7,
  ctState: '+trk-inv',
  ctZone: { value: 5, mask: 0xff },
  ctLabel: 0x1234n,
  ctTuple4: { src: '10.0.0.0/8', tpDst: 53 },
  tunnel: {
    tunId: { value: 5n, mask: 0xffn },
    src: '1.2.3.4',
    ipv6Dst: 'fe80::/10',
    vxlan: { gbp: { id: 1, flags: { value: 1, mask: 1 } } },
    geneve: [{ class: 0x0102, type: 1, data: Uint8Array.of(1, 2, 3, 4) }, { len: 8 }],
    erspan: { ver: 2, dir: 1, hwid: 7 },
    gtpu: { flags: 0x30, msgtype: 255 },
    flags: 'df|csum|key',
  },
  ipv4: { frag: 'no' },
};
export const labels: FlowMatch = { inPort: 1, mpls: [{ label: 100 }, { tc: 3, bos: 1 }] };
export const service: FlowMatch = {
  inPort: 1,
  nsh: { spi: 1, si: 255, c1: { value: 1, mask: 1 } },
};

// @ts-expect-error
export const noPort: FlowMatch = { ipv4: {} };
// @ts-expect-error
export const maskedRecircId: FlowMatch = { inPort: 1, recircId: { value: 1, mask: 1 } };
// @ts-expect-error
export const word: FlowMatch = { inPort: 1, ipv4: { ttl: 'sixty-four' } };
// @ts-expect-error
export const fragment: FlowMatch = { inPort: 1, ipv4: { frag: 'some' } };
// @ts-expect-error
export const typo: FlowMatch = { inPort: 1, tunnel: { tunnelId: 5 } };
// @ts-expect-error
export const deepTypo: FlowMatch = { inPort: 1, tunnel: { vxlan: { gdp: { id: 1 } } } };
// @ts-expect-error A list of entries, even of one.
export const entry: FlowMatch = { inPort: 1, mpls: { label: 1 } };
// @ts-expect-error
export const option: FlowMatch = { inPort: 1, tunnel: { geneve: [{ data: '0x1' }] } };

// ---------- reading a match, and handing it on

export function reading(match: FlowMatch): readonly unknown[] {
  const source: string | undefined = match.ipv4?.src;
  const port: number | { readonly value: number } | undefined = match.tcp?.dst;
  const label: number | { readonly value: number } | undefined = match.mpls?.[0]?.label;
  const id: bigint | number | { readonly value: bigint | number } | undefined = match.tunnel?.tunId;
  // What is found can be put again.
  const again: MatchLike = match;
  const spec: FlowSpec = { match, actions: 'drop' };
  return [source, port, label, id, again, spec];
}

/** Where a part may be there or not, it shows when the program runs. */
export function assembled(
  ipv4: FlowMatch['ipv4'],
  tcp: FlowMatch['tcp'],
  theirs: contract.FlowMatch,
): readonly FlowMatch[] {
  return [{ inPort: 1, ipv4, tcp }, theirs];
}

// ---------- what can be set

export const settable: readonly SettableGroups[] = [
  { ipv4: { ttl: 64, src: '10.0.0.0/8' } },
  { mpls: [{ label: 5 }] },
  { nsh: { spi: 1, c4: { value: 1, mask: 1 } } },
  { tunnel: { tunId: 1, dst: '1.2.3.4', ttl: 64, flags: 'key' } },
  { nd: { target: 'fe80::1' } },
  { ndExt: { ndReserved: 0 } },
  { icmpv6: { type: 1, code: 2 } },
  { dpHash: 1 },
];
// @ts-expect-error
export const proto: SettableGroups = { ipv4: { proto: 6 } };
// @ts-expect-error
export const mdtype: SettableGroups = { nsh: { mdtype: 1 } };
// @ts-expect-error
export const ctMark: SettableGroups = { ctMark: 1 };
