/** What configure() takes for the same port: a default that is spelled out makes no difference, anything else does. */
import type { PortSpec } from 'pollux';
import { describe, expect, test } from 'vitest';
import { readPortSpec, sameSpec } from '../../../src/ports/spec.js';

const same = (a: PortSpec, b: PortSpec) => sameSpec(readPortSpec(a), readPortSpec(b));

const common = { rxqs: 1, rxqAffinity: {}, pmdSleepMaxUs: 0xffff_ffff };
const ofInterface = { device: 'p', visible: false, qdisc: 'use', promiscuous: true } as const;
const bare = { name: 'p' };

const spelledOut: readonly (readonly [PortSpec, PortSpec])[] = [
  [
    { ...bare, type: 'memory' },
    { ...bare, ...common, type: 'memory', openDelayMs: 0 },
  ],
  [
    { ...bare, type: 'null' },
    { ...bare, ...common, type: 'null', generate: false },
  ],
  [
    { ...bare, type: 'null', generate: true },
    {
      ...{ ...bare, ...common, type: 'null' },
      generate: { size: 60, flows: 1, masks: 1, order: 'turn', strangerEvery: 0, limit: 0 },
    },
  ],
  [
    { ...bare, type: 'af_packet' },
    { ...bare, ...common, ...ofInterface, type: 'af_packet', hostStack: false },
  ],
  [
    { ...bare, type: 'af_xdp' },
    {
      ...{ ...bare, ...common, ...ofInterface, type: 'af_xdp' },
      ...{ mode: 'best', busyPoll: false, offloadFlows: false },
    },
  ],
  [
    { ...bare, type: 'af_xdp', offloadFlows: true },
    { ...bare, type: 'af_xdp', offloadFlows: { packetsPerSecond: 10_000 } },
  ],
  [
    { ...bare, type: 'tap' },
    { ...bare, ...common, type: 'tap', device: 'p' },
  ],
  [
    { ...bare, type: 'pcap', read: 'x' },
    { ...bare, ...common, type: 'pcap', read: 'x', loop: false, pace: 'asap' },
  ],
];

describe('the same port', () => {
  test.each(spelledOut)('%j and %j', (short, long) => {
    expect(same(short, long)).toBe(true);
    expect(same(long, short)).toBe(true);
  });

  test('a number and `wait` are no reason to make it anew', () => {
    const port = { ...bare, type: 'af_packet' } as const;
    expect(same({ ...port, number: 7, wait: true }, port)).toBe(true);
  });
});

test.each([
  { rxqs: 2 },
  { rxqAffinity: { 0: 1 } },
  { pmdSleepMaxUs: 0 },
  { pmd: true },
  { mtu: 1500 },
  { numa: 0 },
  { device: 'other' },
  { netns: '/var/run/netns/other' },
  { visible: true },
  { qdisc: 'bypass' },
  { promiscuous: false },
  { mode: 'native' },
  { busyPoll: true },
  { offloadFlows: true },
] as const)('another port: %j', (option) => {
  const port = { ...bare, type: 'af_xdp' } as const;
  expect(same(port, { ...port, ...option })).toBe(false);
  expect(same({ ...port, ...option }, port)).toBe(false);
});
