// pcap ports: what other programs write is read, what is written other programs read, and what is broken says where.
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  createWriteStream,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { Datapath, DatapathError, Port, PortSpec } from 'pollux';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findProgram } from '../../../scripts/lib/tools.mjs';
import { child } from '../../support/child.js';
import { failure, makeDatapath, udpFrame, udpFrames, until } from '../../support/datapath.js';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'pollux-pcap-'));
const file = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));

const tools = ['tshark', 'editcap', 'capinfos', 'tcpdump'];
const haveTools = tools.every((name) => findProgram(name) !== undefined);

/** A capture of little-endian microseconds; `gapUs` between the frames. */
function pcapOf(frames: readonly Buffer[], gapUs = 1): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(65_535, 16);
  head.writeUInt32LE(1, 20);
  const records = frames.flatMap((frame, i) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(1_000_000 + Math.floor((i * gapUs) / 1e6), 0);
    record.writeUInt32LE((i * gapUs) % 1e6, 4);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return [record, frame];
  });
  return Buffer.concat([head, ...records]);
}

function write(name: string, bytes: Buffer): string {
  writeFileSync(file(name), bytes);
  return file(name);
}

/** The frames of a file as a pcap port sees them. */
async function framesOf(path: string): Promise<Buffer[]> {
  const dp = makeDatapath();
  const sink = await dp.addPort({ name: 'sink', type: 'memory', number: 2, queueLength: 65_536 });
  dp.flows.put('in_port(1)', '2');
  await dp.addPort({ name: 'source', type: 'pcap', number: 1, read: path });
  await dp.settle();
  return sink.drain();
}

/** Two ports: frames injected into the one go to a pcap port with `write`. */
async function recorder(path: string, spec: Partial<PortSpec> = {}) {
  const dp = makeDatapath();
  const source = await dp.addPort({ name: 'source', type: 'memory', queueLength: 65_536 });
  const down = once(dp, 'portDown') as Promise<[Port, DatapathError]>;
  const port = await dp.addPort({ name: 'record', type: 'pcap', write: path, ...spec } as PortSpec);
  dp.flows.put('in_port(source)', 'record');
  return { dp, source, port, down };
}

async function record(path: string, frames: readonly Buffer[]): Promise<void> {
  const { dp, source } = await recorder(path);
  source.inject(frames);
  await dp.settle();
  await dp.deletePort('record'); // what waits is written first
}

/** As toEqual(), which takes seconds for thousands of buffers. */
function expectFrames(got: readonly Buffer[], expected: readonly Buffer[]): void {
  expect(got.map(({ length }) => length).join()).toBe(expected.map(({ length }) => length).join());
  expect(Buffer.concat(got).equals(Buffer.concat(expected))).toBe(true);
}

const downOf = (dp: Datapath): Promise<[Port, DatapathError]> =>
  once(dp, 'portDown') as Promise<[Port, DatapathError]>;

describe('reading', () => {
  const frames = [...udpFrames(100), udpFrame(0, 65_535), udpFrame(1, 9000)];

  test('a file is read whole, in order; settle() waits for it; then the port goes down and says so', async () => {
    const path = write('plain.pcap', pcapOf(frames));
    const dp = makeDatapath();
    const sink = await dp.addPort({ name: 'sink', type: 'memory', number: 2 });
    dp.flows.put('in_port(1)', '2');
    const down = downOf(dp);
    const port = await dp.addPort({ name: 'source', type: 'pcap', number: 1, read: path });
    expect(port.mode).toBe('read');
    await dp.settle();
    expectFrames(sink.drain(), frames);
    const [{ name }, reason] = await down;
    expect(name).toBe('source');
    expect(reason.message).toBe(`"${path}", all is read`);
    expect(port.state).toBe('down');
    const bytes = frames.reduce((sum, { length }) => sum + length, 0);
    expect(port.stats()).toMatchObject({ rxPackets: 102n, rxBytes: BigInt(bytes), rxErrors: 0n });
    // It is there and swallows, counted.
    dp.execute(udpFrame(), 'source');
    expect(port.stats().txErrors).toBe(1n);
  });

  test.runIf(haveTools).each(['pcap', 'nsecpcap', 'pcapng'])(
    'editcap writes %s, and it is read',
    async (format) => {
      const small = frames.filter(({ length }) => length < 65_535);
      const path = file(`editcap.${format}`);
      await run('editcap', ['-F', format, write('to-edit.pcap', pcapOf(small)), path]);
      expectFrames(await framesOf(path), small);
    },
  );

  test('a file much larger than the read-ahead, once', async () => {
    const many = Array.from({ length: 40_000 }, (_, i) => udpFrame(i & 0xffff, 60 + (i % 90)));
    const path = write('large.pcap', pcapOf(many));
    expect(statSync(path).size).toBeGreaterThan(4 << 20);
    expectFrames(await framesOf(path), many);
  });

  test.each([
    { what: 'a few frames', n: 3 },
    { what: 'more than the read-ahead', n: 30_000 },
  ])('loop: $what, again and again', async ({ n }) => {
    const path = write(`loop-${n}.pcap`, pcapOf(udpFrames(1).concat(udpFrames(n - 1))));
    const dp = makeDatapath();
    const sink = await dp.addPort({ name: 'sink', type: 'memory', number: 2, queueLength: 4 * n });
    dp.flows.put('in_port(1)', '2');
    const source: PortSpec = { name: 'source', type: 'pcap', number: 1, read: path, loop: true };
    const port = await dp.addPort(source);
    await until(() => port.stats().rxPackets > 3n * BigInt(n), 'three rounds');
    expect(port.state).toBe('up');
    await dp.deletePort(port);
    const got = sink.drain().slice(0, 3 * n);
    const one = [udpFrame(0), ...udpFrames(n - 1)];
    expectFrames(got, [...one, ...one, ...one]);
  });

  test("pace: 'timestamps' keeps the gaps, in each round", async () => {
    const path = write('paced.pcap', pcapOf(udpFrames(3), 150_000));
    const { dp } = await recorder(file('paced-out.pcapng'));
    dp.flows.put('in_port(9)', 'record');
    const start = process.hrtime.bigint();
    const port = await dp.addPort({
      ...{ name: 'paced', type: 'pcap', number: 9 },
      ...{ read: path, loop: true, pace: 'timestamps' },
    });
    // 0, 150, 300, and the next round: 300, 450, 600.
    await until(() => port.stats().rxPackets >= 6n, 'six frames');
    expect(Number(process.hrtime.bigint() - start) / 1e6).toBeGreaterThan(595);
    expect(port.state).toBe('up');
  });

  test('frames longer than 65,535 bytes, or empty, are errors of reception', async () => {
    const path = write(
      'long.pcap',
      pcapOf([Buffer.alloc(65_536), udpFrame(1), Buffer.alloc(0), udpFrame(2)]),
    );
    const dp = makeDatapath();
    const sink = await dp.addPort({ name: 'sink', type: 'memory', number: 2 });
    dp.flows.put('in_port(1)', '2');
    const port = await dp.addPort({ name: 'source', type: 'pcap', number: 1, read: path });
    await dp.settle();
    expectFrames(sink.drain(), [udpFrame(1), udpFrame(2)]);
    expect(port.stats()).toMatchObject({ rxPackets: 2n, rxErrors: 2n });
  });

  test.each([true, false])('from a pipe, polled by a PMD thread: %s', async (pmd) => {
    const pipe = file(`pipe-${pmd}`);
    execFileSync('mkfifo', [pipe]);
    const dp = makeDatapath();
    const sink = await dp.addPort({ name: 'sink', type: 'memory', number: 2 });
    dp.flows.put('in_port(1)', '2');
    const port = await dp.addPort({ name: 'source', type: 'pcap', number: 1, read: pipe, pmd });
    const down = downOf(dp);
    const bytes = pcapOf(udpFrames(10));
    const writer = createWriteStream(pipe);
    // In the middle of the fourth record.
    writer.write(bytes.subarray(0, 24 + 3 * 76 + 20));
    await until(() => port.stats().rxPackets === 3n, 'three frames');
    expect(port.state).toBe('up');
    writer.end(bytes.subarray(24 + 3 * 76 + 20));
    expect((await down)[1].message).toContain('all is read');
    expectFrames(sink.drain(), udpFrames(10));
  });
});

describe('writing', () => {
  test.each(['record.pcapng', 'record.pcap', 'record'])(
    '%s: what comes out again',
    async (name) => {
      const frames = [...udpFrames(1000), udpFrame(7, 65_535), udpFrame(8, 61), udpFrame(9, 63)];
      await record(file(name), frames);
      expectFrames(await framesOf(file(name)), frames);
      const pcapng = readFileSync(file(name)).readUInt32LE(0) === 0x0a0d0d0a;
      expect(pcapng).toBe(!name.endsWith('.pcap'));
    },
  );

  test('what was replayed keeps its times and its lengths on the wire, also behind a new tag', async () => {
    // As a capture with a snap length has it: the length on the wire is more than what was kept.
    const capture = pcapOf(udpFrames(5), 1500);
    for (let at = 24, i = 0; at < capture.length; at += 16 + capture.readUInt32LE(at + 8), i++) {
      capture.writeUInt32LE(capture.readUInt32LE(at + 8) + 100 * i, at + 12);
    }
    const records = (path: string) => {
      const bytes = readFileSync(path);
      const found: { ns: number; kept: number; wire: number }[] = [];
      for (let at = 24; at < bytes.length; at += 16 + bytes.readUInt32LE(at + 8)) {
        const [seconds, part, kept, wire] = [0, 4, 8, 12].map((i) => bytes.readUInt32LE(at + i));
        found.push({ ns: (seconds! - 1_000_000) * 1e9 + part!, kept: kept!, wire: wire! });
      }
      return found;
    };
    const dp = makeDatapath();
    await dp.addPort({ name: 'whole', type: 'pcap', number: 2, write: file('whole.pcap') });
    await dp.addPort({ name: 'tagged', type: 'pcap', number: 3, write: file('tagged.pcap') });
    dp.flows.put('in_port(1)', '2,push_vlan(vid=5,pcp=0),3');
    const read = write('snapped.pcap', capture);
    await dp.addPort({ name: 'replay', type: 'pcap', number: 1, read });
    await dp.settle();
    // What the program makes is of now.
    dp.execute(udpFrame(), 'whole');
    for (const name of ['whole', 'tagged']) await dp.deletePort(name);
    const size = udpFrame().length;
    const expected = [0, 1, 2, 3, 4].map((i) => ({
      ...{ ns: i * 1_500_000, kept: size, wire: size + 100 * i },
    }));
    const whole = records(file('whole.pcap'));
    expect(whole.slice(0, 5)).toEqual(expected);
    expect(whole[5]).toMatchObject({ kept: size, wire: size });
    expect(whole[5]!.ns / 1e9 + 1_000_000).toBeGreaterThan(Date.now() / 1000 - 60);
    expect(records(file('tagged.pcap'))).toEqual(
      expected.map(({ ns, kept, wire }) => ({ ns, kept: kept + 4, wire: wire + 4 })),
    );
  });

  test.runIf(haveTools)(
    'tshark, capinfos and tcpdump read it',
    async () => {
      const frames = udpFrames(50);
      for (const name of ['tools.pcapng', 'tools.pcap']) {
        const from = Date.now() / 1000;
        await record(file(name), frames);
        const fields = ['-T', 'fields', '-e', 'frame.time_epoch', '-e', 'udp.srcport'];
        const { stdout } = await run('tshark', ['-n', '-r', file(name), ...fields]);
        const lines = stdout.trim().split('\n');
        expect(lines.map((line) => Number(line.split('\t')[1]))).toEqual(frames.map((_, i) => i));
        for (const line of lines) {
          expect(Number.parseFloat(line)).toBeGreaterThan(from - 0.1);
          expect(Number.parseFloat(line)).toBeLessThan(Date.now() / 1000 + 0.1);
        }
        const info = await run('capinfos', [file(name)]);
        expect(info.stdout).toMatch(/Number of packets: +50$/m);
        expect(info.stdout).toMatch(/precision: +nanoseconds/);
        if (name.endsWith('ng')) expect(info.stdout).toMatch(/Name = record$/m);
        expect(
          (await run('tcpdump', ['-n', '-r', file(name)])).stdout.trim().split('\n').length,
        ).toBe(50);
      }
    },
    60_000,
  );

  test('an MTU holds when asked for', async () => {
    const { dp, source, port } = await recorder(file('mtu.pcapng'), { mtu: 100 });
    source.inject([udpFrame(1, 114), udpFrame(1, 115)]);
    await dp.settle();
    expect(port.stats()).toMatchObject({ txPackets: 1n, txDropped: 1n });
    expect(dp.stats().drops.tx_mtu_exceeded).toBe(1n);
  });

  test('a full disk: the port goes down and says why, and what comes then is dropped', async () => {
    const { dp, source, port, down } = await recorder('/dev/full');
    const [, reason] = await down;
    expect(reason.message).toMatch(/cannot write "\/dev\/full": No space left/);
    expect(port.state).toBe('down');
    source.inject(udpFrames(5));
    await dp.settle();
    expect(dp.stats().drops.tx_port_down).toBe(5n);
  });

  test('a pipe whose reader does not read: nobody waits, and it closes', async () => {
    const pipe = file('stuck');
    execFileSync('mkfifo', [pipe]);
    const reader = spawn('sh', ['-c', `exec sleep 60 < ${pipe}`]);
    try {
      let opened: Awaited<ReturnType<typeof recorder>> | undefined;
      for (const end = Date.now() + 10_000; opened === undefined; ) {
        opened = await recorder(pipe).catch((error) => {
          if (error.code !== 'ENXIO' || Date.now() > end) throw error;
          return undefined;
        });
      }
      const { dp, source, port } = opened;
      for (let round = 0; round < 10; round++) source.inject(Array(10).fill(udpFrame(1, 65_000)));
      await dp.settle();
      const { txPackets, txDropped } = port.stats();
      expect(txPackets + txDropped).toBe(100n);
      expect(txDropped).toBeGreaterThan(30n); // 6.5 MB, and there is room for four
      expect(dp.stats().drops.tx_queue_full).toBe(txDropped);
      await dp.deletePort(port);
    } finally {
      reader.kill();
    }
  });

  test('standard input and output of a process', async () => {
    const program = `
      const { Datapath } = await import('pollux');
      const dp = new Datapath();
      dp.flows.put('in_port(1)', 'set(eth(dst=02:00:00:00:00:09)),1');
      const port = await dp.addPort({ name: 'p', type: 'pcap', number: 1, read: '-', write: '-' });
      if (port.state === 'up') await new Promise((resolve) => dp.once('portDown', resolve));
      await dp.settle();
      await dp.close();`;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--input-type=module', '--eval', program],
      {
        input: pcapOf(udpFrames(20)),
        cwd: new URL('../../..', import.meta.url),
        timeout: 20_000,
      },
    );
    const path = write('stdout.pcapng', stdout);
    expect(stderr.toString()).toBe('');
    expectFrames(
      await framesOf(path),
      udpFrames(20).map((frame) =>
        Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 9]), frame.subarray(6)]),
      ),
    );
  });
});

describe('what cannot be', () => {
  const open = (spec: Partial<Extract<PortSpec, { type: 'pcap' }>>) =>
    makeDatapath().addPort({ name: 'p', type: 'pcap', ...spec } as PortSpec);
  let good = '';
  beforeAll(() => {
    good = write('good.pcap', pcapOf(udpFrames(100)));
  });

  test('wishes', async () => {
    await failure('EINVAL', () => open({}));
    await failure('EINVAL', () => open({ read: good, rxqs: 2 }));
    await failure('EINVAL', () => open({ write: file('x.pcap'), loop: true }));
    await failure('EINVAL', () => open({ read: good, pace: 'fast' as never }));
    expect((await failure('EINVAL', () => open({ read: good, write: good }))).hint).toMatch(
      /another/,
    );
    expect(readFileSync(good)).toEqual(pcapOf(udpFrames(100)));
    expect((await failure('ENOENT', () => open({ read: file('none') }))).hint).toMatch(/path/);
    await failure('EISDIR', () => open({ read: folder }));
    await failure('ENOENT', () => open({ write: file('none/x.pcap') }));
    execFileSync('mkfifo', [file('fifo')]);
    expect((await failure('EINVAL', () => open({ read: file('fifo'), loop: true }))).hint).toMatch(
      /file/,
    );
    expect((await failure('ENXIO', () => open({ write: file('fifo') }))).hint).toMatch(/reader/);
    expect(existsSync(file('x.pcap'))).toBe(false);
  });

  test('files that are no capture of Ethernet, with the place', async () => {
    const radiotap = pcapOf(udpFrames(1));
    radiotap.writeUInt32LE(127, 20);
    for (const [bytes, expected] of [
      [Buffer.alloc(0), /byte 0: the file ends inside its head/],
      [
        Buffer.from('#!/bin/sh\necho this is no capture\n'),
        /byte 0: this is neither pcap nor pcapng/,
      ],
      [radiotap, /byte 0: frames of link type 127/],
      [pcapOf(udpFrames(1)).subarray(0, 70), /byte 24: the file ends inside a frame/],
    ] as const) {
      const error = await failure('EINVAL', () => open({ read: write('bad', bytes) }));
      expect(error.message).toMatch(expected);
      expect(error.hint).toMatch(/capinfos/);
      expect(error.port).toBe('p');
    }
  });

  test('a compressed one says how it is unpacked, and that does it', async () => {
    const path = write('day.pcap.gz', gzipSync(pcapOf(udpFrames(5))));
    const { message, hint } = await failure('EINVAL', () => open({ read: path }));
    expect(message).toMatch(/byte 0: this is compressed/);
    const line = hint!.match(/^`(gunzip -k .*)` unpacks it$/)![1]!;
    execFileSync('sh', ['-c', line]);
    expect(existsSync(path)).toBe(true);
    await open({ read: path.slice(0, -'.gz'.length) });
    const zstd = write('day.zst', Buffer.from('28b52ffd000000000000', 'hex'));
    expect((await failure('EINVAL', () => open({ read: zstd }))).hint).toMatch(/unzstd -k/);
  });

  test('a file that is cut: what is before the place is forwarded, and then it says so', async () => {
    const path = write('cut.pcap', pcapOf(udpFrames(100)));
    truncateSync(path, 24 + 50 * 76 + 40);
    const dp = makeDatapath();
    const sink = await dp.addPort({ name: 'sink', type: 'memory', number: 2 });
    dp.flows.put('in_port(1)', '2');
    const down = downOf(dp);
    await dp.addPort({ name: 'source', type: 'pcap', number: 1, read: path, loop: true });
    expect((await down)[1].message).toBe(`"${path}", byte 3824: the file ends inside a frame`);
    expectFrames(sink.drain(), udpFrames(50));
  });

  // In a process of its own: what earlier tests have left to the garbage collector goes at any moment.
  test('ports come and go: no descriptor and no thread is left', async () => {
    const spec = {
      name: 'p',
      type: 'pcap',
      read: good,
      write: file('life.pcapng'),
      loop: true,
    };
    const text = `
      import { execFileSync } from 'node:child_process';
      import { Datapath } from 'pollux';
      const count = (what) => execFileSync('sh', ['-c', 'ls /proc/' + process.pid + '/' + what + ' | wc -l']);
      const counts = () => [count('fd'), count('task')].map(Number).join();
      const dp = new Datapath({ topology: { numa: [[0, 1]] } });
      await dp.addPort({ name: 'other', type: 'memory' });
      const round = async () => {
        await dp.addPort(${JSON.stringify(spec)});
        await dp.deletePort('p');
      };
      await round(); // The first round and the first count open something for good.
      counts();
      const before = counts();
      for (let n = 0; n < 20; n++) await round();
      const after = counts();
      await dp.close();
      console.log(before === after ? 'equal' : before + ' before, ' + after + ' after');`;
    expect(await child(text)).toMatchObject({ code: 0, stdout: 'equal' });
  });
});
