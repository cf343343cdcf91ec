// Every option of every method: what is of the wrong kind is refused, and nothing is done.
import { type Datapath, formatActions, formatMatch, type MemoryPort } from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts, udpFrame, until } from '../support/datapath.js';

const any = (value: unknown) => value as never;
const frame = udpFrame();

let dp: Datapath;
let a: MemoryPort;
beforeEach(async () => {
  dp = makeDatapath();
  [a] = await memoryPorts(dp, 'a', 'b');
  dp.flows.put('in_port(b)', 'a');
});

const notBoolean = [1, 0, 'true', null, {}, []];
const notNumber = [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, '1', null, {}, [], true, 1n];
const notChoice = ['', 'nosuch', 1, null, true, {}];
const notText = [1, '', null, true, {}, []];
const notPort = [-1, 65_536, 0.5, null, {}, [], true, 1n];
const notSignal = [1, 'abort', null, {}, true];
const notObject = [1, 'x', null, true, []];
const notBooleanOrObject = [1, 0, 'true', null, []];
const unknown = [1];

const kAbortable = [
  ...(['Datapath.open', 'addPort', 'deletePort', 'configure', 'upcalls'] as const),
  ...(['renumberPort', 'reload', 'settle', 'advance'] as const),
];

type Call = (value: never) => unknown;
/** Method, option, values that are wrong for it, a call with one. */
const cases: [method: string, option: string, wrong: readonly unknown[], call: Call][] = [
  ...kAbortable.flatMap((method): [string, string, readonly unknown[], Call][] => {
    const call = (options: unknown) =>
      ({
        'Datapath.open': () => (dp.constructor as any).open({}, options),
        addPort: () => dp.addPort({ name: 'n', type: 'null' }, any(options)),
        deletePort: () => dp.deletePort('a', any(options)),
        configure: () => dp.configure({ ports: [] }, any(options)),
        upcalls: () => dp.upcalls(any(options)),
        renumberPort: () => dp.renumberPort('a', 9, any(options)),
        reload: () => dp.reload(undefined, any(options)),
        settle: () => dp.settle(any(options)),
        advance: () => dp.advance(0, any(options)),
      })[method]();
    return [
      [method, 'signal', notSignal, (signal) => call({ signal })],
      [method, 'that there is not', unknown, (nosuch) => call({ nosuch })],
      [method, 'all', notObject, call],
    ];
  }),
  ['configure', 'dryRun', notBoolean, (dryRun) => dp.configure({ ports: [] }, { dryRun })],
  ['renumberPort', 'number', notNumber, (number) => dp.renumberPort('a', number)],
  ['reload', 'core', [...notNumber, 'main'], (core) => dp.reload(core)],
  ['execute', 'inPort', notPort, (inPort) => dp.execute(frame, 'a', { inPort })],
  ['execute', 'report', notBoolean, (report) => dp.execute(frame, 'a', { report })],
  ['trace', 'inPort', notPort, (inPort) => dp.trace(frame, { inPort })],
  ['trace', 'seed', notNumber, (seed) => dp.trace(frame, { inPort: 1, seed })],
  ['advance', 'ms', notNumber, (ms) => dp.advance(ms)],
  ['onUpcall', 'handler', [1, 'x', true, {}, []], (handler) => dp.onUpcall(handler)],
  ['flows.put', 'ufid', notText, (ufid) => dp.flows.put('in_port(5)', '1', { ufid })],
  [
    ...(['flows.put', 'idleTimeoutMs', notNumber] as const),
    (idleTimeoutMs) => dp.flows.put('in_port(5)', '1', { idleTimeoutMs }),
  ],
  [
    ...(['flows.put', 'ifExists', [...notChoice, 'add']] as const),
    (ifExists) => dp.flows.put('in_port(5)', '1', { ifExists }),
  ],
  [
    ...(['flows.put', 'ifMissing', [...notChoice, 'replace']] as const),
    (ifMissing) => dp.flows.put('in_port(5)', '1', { ifMissing }),
  ],
  ['flows.put', 'all', notObject, (options) => dp.flows.put('in_port(5)', '1', options)],
  [
    ...(['flows.apply', 'atomic', notBoolean] as const),
    (atomic) => dp.flows.apply([{ delete: 'in_port(b)' }], { atomic }),
  ],
  [
    ...(['flows.apply', 'all', notObject] as const),
    (options) => dp.flows.apply([{ delete: 'in_port(b)' }], options),
  ],
  [
    ...(['flows.apply', 'ufid of a put', notText] as const),
    (ufid) => dp.flows.apply([{ put: { match: 'in_port(5)', actions: '1', ufid } }]),
  ],
  [
    ...(['flows.apply', 'idleTimeoutMs of a put', notNumber] as const),
    (idleTimeoutMs) =>
      dp.flows.apply([{ put: { match: 'in_port(5)', actions: '1', idleTimeoutMs } }]),
  ],
  ['flows.dump', 'inPort', notPort, (inPort) => dp.flows.dump({ inPort })],
  ['flows.dump', 'core', [...notNumber, 'main'], (core) => dp.flows.dump({ core })],
  ['flows.dump', 'signal', notSignal, (signal) => dp.flows.dump({ signal })],
  ['flows.dump', 'all', notObject, (filter) => dp.flows.dump(filter)],
  ['inject', 'rxq', notNumber, (rxq) => a.inject(frame, { rxq })],
  ['inject', 'all', notObject, (options) => a.inject(frame, options)],
  ['drain', 'max', notNumber, (max) => a.drain(max)],
  ['formatMatch', 'verbose', notBoolean, (verbose) => formatMatch('in_port(1)', { verbose })],
  ['formatMatch', 'ports', [1, 'x', null, true], (ports) => formatMatch('in_port(1)', { ports })],
  ['formatMatch', 'all', notObject, (options) => formatMatch('in_port(1)', options)],
  ['formatActions', 'ports', [1, 'x', null, true], (ports) => formatActions('1', { ports })],
  ['formatActions', 'all', notObject, (options) => formatActions('1', options)],
  ...portOptions(),
];

function portOptions(): typeof cases {
  const common = {
    ...{ name: notText, number: notNumber, rxqs: [...notNumber, 0], pmd: notBoolean },
    ...{ rxqAffinity: [1, 'x', null, true, { 0: -1 }, { 0: '1' }, { x: 1 }] },
    ...{ pmdSleepMaxUs: notNumber, mtu: [...notNumber, 67], numa: notNumber },
  };
  const ofInterface = {
    ...{
      device: [...notText, '', '..', 'a/b', 'a b', 'x'.repeat(128)],
      netns: [true, null, {}, -1, 'x'],
    },
    ...{ visible: notBoolean, qdisc: notChoice, promiscuous: notBoolean, wait: notBoolean },
  };
  const own: Readonly<Record<string, Readonly<Record<string, readonly unknown[]>>>> = {
    memory: { queueLength: [...notNumber, 0], openDelayMs: notNumber },
    null: { generate: notBooleanOrObject },
    af_packet: { ...ofInterface, hostStack: notBoolean },
    af_xdp: {
      ...{ ...ofInterface, mode: notChoice, busyPoll: notBoolean },
      offloadFlows: [...notBooleanOrObject, { packetsPerSecond: 0 }, { nosuch: 1 }],
    },
    tap: { device: notText, netns: ofInterface.netns },
    pcap: { read: notText, write: notText, loop: notBoolean, pace: notChoice },
  };
  const kinds = Object.entries(own).flatMap(([type, fields]) =>
    Object.entries({ ...common, ...fields, nosuch: unknown }).map(
      ([field, wrong]) => [type, field, wrong] as const,
    ),
  );
  const generate = {
    ...{ size: [...notNumber, 13], flows: [...notNumber, 0], masks: [...notNumber, 0] },
    ...{ order: notChoice, strangerEvery: notNumber, limit: notNumber },
  };
  return [
    ...kinds.map(([type, field, wrong]): (typeof cases)[number] => [
      ...([`a port of type ${type}`, field, wrong] as const),
      (value) => dp.addPort(any({ name: 'n', type, [field]: value })),
    ]),
    ...Object.entries(generate).map(([field, wrong]): (typeof cases)[number] => [
      ...(['generate', field, wrong] as const),
      (value) => dp.addPort(any({ name: 'n', type: 'null', generate: { [field]: value } })),
    ]),
  ];
}

describe('refused', () => {
  test.each(cases)('%s: the option %s', async (_method, _option, wrong, call) => {
    const before = { flows: dp.flows.size, stats: dp.stats().ledger };
    for (const value of wrong) {
      await failure('EINVAL', async () => {
        const result = await call(value as never);
        return `${String(result)} for ${typeof value} ${JSON.stringify(value, (_, v) => String(v))}`;
      });
    }
    expect([...dp.ports.keys()]).toEqual(['a', 'b']);
    expect(dp.ports.get('a')!.number).toBe(1);
    expect({ flows: dp.flows.size, stats: dp.stats().ledger }).toEqual(before);
    // Nobody has become the consumer of upcalls by the way.
    dp.onUpcall(() => {});
  });

  test('options of a verdict', async () => {
    const failed: unknown[] = [];
    let calls = 0;
    dp.onUpcall((batch) => {
      for (const packet of batch) {
        const wrong = [
          ...notObject,
          ...notNumber.map((idleTimeoutMs) => ({ idleTimeoutMs })),
          ...[1, null, true].map((match) => ({ match })),
          { nosuch: 1 },
        ];
        for (const options of wrong) {
          calls++;
          try {
            packet.install('b', any(options));
          } catch (error) {
            failed.push(error);
          }
        }
      }
    });
    a.inject(frame);
    await until(() => calls > 0);
    expect(failed).toHaveLength(calls);
    for (const error of failed) expect(error).toMatchObject({ code: 'EINVAL' });
    expect(dp.flows.size).toBe(1);
  });
});
