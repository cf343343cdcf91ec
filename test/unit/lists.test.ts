// Lists that exist above and below the boundary say the same.
import { Datapath } from 'pollux';
import { expect, test } from 'vitest';
import { addon } from '../../src/binding.js';
import { kDropReasons } from '../../src/odp/names.js';
import { kGroupSpecs, type MemberSpec } from '../../src/odp/schema/compile.js';
import { readPortSpec } from '../../src/ports/spec.js';
import { kRecordLayouts } from '../../src/record-layouts.js';
import { makeDatapath } from '../support/datapath.js';

test('drop reasons', () => {
  expect(Object.keys(makeDatapath().stats().drops)).toEqual(addon.dropReasons);
  expect(new Set(addon.dropReasons).size).toBe(addon.dropReasons.length);
});

test('reasons that a drop action states', () => {
  const counted = addon.dropReasons.filter((reason) => reason.startsWith('drop_action_'));
  expect(kDropReasons.map((reason) => `drop_action_${reason}`)).toEqual(counted);
});

test('port types', () => {
  for (const { type } of Datapath.portTypes()) {
    const extra = type === 'dpdk' ? { devargs: 'x' } : {};
    expect(readPortSpec({ name: 'p', type, ...extra })).toMatchObject({ type });
  }
});

/** ODP names of the fields, as far as the core tells them apart: "tunnel.vxlan.gbp.id". */
function pathsOf(spec: MemberSpec, path: string): string[] {
  const name = spec.name === '' ? path : `${path}.${spec.name}`;
  return 'nest' in spec ? spec.nest.flatMap((member) => pathsOf(member, name)) : [name];
}

test('flow fields: what the core can match has a place in the language, and nothing else has', () => {
  // Fields that share a place below, and several that are one.
  const shared: [RegExp, string][] = [
    [/^vlan\..*/, 'vlan'],
    [/^mpls\..*/, 'mpls'],
    [/^packet_type\..*/, 'packet_type'],
    [/^nsh\.(spi|si)$/, 'nsh.spi_si'],
    [/^nsh\.c\d$/, 'nsh.c'],
    [/^ct_tuple[46]\.(proto|tp_src|tp_dst)$/, 'ct_tuple.$1'],
    [/^ipv[46]\.(proto|frag)$/, 'nw_$1'],
    [/^ipv[46]\.(tos|tclass)$/, 'nw_tos'],
    [/^ipv[46]\.(ttl|hlimit)$/, 'nw_ttl'],
    [/^arp\.sip$/, 'ipv4.src'],
    [/^arp\.tip$/, 'ipv4.dst'],
    [/^arp\.op$/, 'nw_proto'],
    [/^(tcp|udp|sctp)\.(src|dst)$/, 'tp_$2'],
    [/^icmp(v6)?\.type$/, 'tp_src'],
    [/^icmp(v6)?\.code$/, 'tp_dst'],
    [/^nd\.sll$/, 'arp.sha'],
    [/^nd\.tll$/, 'arp.tha'],
  ];
  const below = (path: string) =>
    shared.reduce((name, [pattern, place]) => name.replace(pattern, place), path);
  const above = kGroupSpecs.flatMap((group) =>
    group.fields.flatMap((field) => pathsOf(field, group.name)).map(below),
  );
  expect(addon.flowFields).toEqual([...new Set(addon.flowFields)]);
  expect([...addon.flowFields].sort()).toEqual([...new Set(above)].sort());
});

test('layouts of records', () => {
  expect(addon.recordLayouts).toEqual(kRecordLayouts);
});

test('defaults are those of the core', () => {
  expect(addon.defaultOptions).toMatchObject({
    name: 'pollux',
    flowLimit: 200_000,
    maxIdleMs: 10_000,
    upcallQueueLength: 1024,
  });
});
