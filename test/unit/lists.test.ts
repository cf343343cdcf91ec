// Lists that exist above and below the boundary say the same.
import { Datapath } from 'pollux';
import { expect, test } from 'vitest';
import { addon } from '../../src/binding.js';
import { kGroupSpecs } from '../../src/odp/schema.js';
import { readPortSpec } from '../../src/port.js';
import { makeDatapath } from './support.js';

test('drop reasons', () => {
  expect(Object.keys(makeDatapath().stats().drops)).toEqual(addon.dropReasons);
  expect(new Set(addon.dropReasons).size).toBe(addon.dropReasons.length);
});

test('port types', () => {
  for (const { type } of Datapath.portTypes()) {
    const extra = type === 'dpdk' ? { devargs: 'x' } : {};
    expect(readPortSpec({ name: 'p', type, ...extra })).toMatchObject({ type });
  }
});

test('flow fields: whatever the core can match has a place in the language', () => {
  // Fields that share a place below, and names that differ.
  const below = (group: string, field: string): string => {
    if (group === 'vlan') return 'vlan';
    if (group === 'ipv4' || group === 'ipv6') {
      const shared: Record<string, string> = {
        proto: 'nw_proto',
        tos: 'nw_tos',
        tclass: 'nw_tos',
        ttl: 'nw_ttl',
        hlimit: 'nw_ttl',
        frag: 'nw_frag',
      };
      return shared[field] ?? `${group}.${field}`;
    }
    if (group === 'arp') {
      const shared: Record<string, string> = { sip: 'ipv4.src', tip: 'ipv4.dst', op: 'nw_proto' };
      return shared[field] ?? `arp.${field}`;
    }
    if (['tcp', 'udp', 'sctp'].includes(group)) return `tp_${field}`;
    if (['icmp', 'icmpv6'].includes(group)) return field === 'type' ? 'tp_src' : 'tp_dst';
    if (group === 'nd') {
      const shared: Record<string, string> = { sll: 'arp.sha', tll: 'arp.tha' };
      return shared[field] ?? `nd.${field}`;
    }
    return group === 'eth' ? `eth.${field}` : group;
  };
  const above = kGroupSpecs.flatMap(({ name, fields }) =>
    fields.map((field) => below(name, field.name)),
  );
  expect(new Set(above)).toEqual(new Set(addon.flowFields));
});

test('defaults are those of the core', () => {
  expect(addon.defaultOptions).toMatchObject({
    name: 'pollux',
    flowLimit: 200_000,
    maxIdleMs: 10_000,
    upcallQueueLength: 1024,
  });
});
