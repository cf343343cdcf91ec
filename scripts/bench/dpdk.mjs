// What DPDK programs need to be measured: memory in huge pages, and a source of frames inside them (test/bench/dpdk/).
import {
  existsSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inRoot } from '../lib/root.mjs';
import { hashOf, whenChanged } from '../lib/stamp.mjs';
import { findProgram } from '../lib/tools.mjs';
import { execute } from './processes.mjs';

/** Debian's packages of the peers, and how to know that one is there. */
const packages = {
  'openvswitch-switch-dpdk': () => existsSync('/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk'),
  'dpdk-dev': () => findProgram('dpdk-testpmd') !== undefined,
  'libdpdk-dev': () => existsSync('/usr/include/dpdk/rte_ethdev.h'),
};

export const missingPackages = () => Object.keys(packages).filter((name) => !packages[name]());

/** Why programs of DPDK cannot be measured here, or undefined. */
export function obstacle() {
  const missing = missingPackages();
  if (missing.length > 0) {
    return `${missing.join(', ')} not installed; type: sudo apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  }
  return process.getuid() === 0 ? undefined : 'huge pages and DPDK need root';
}

// ---------------------------------------------------------------------------------------------------------- huge pages

const poolFile = '/proc/sys/vm/nr_hugepages';
/** What the machine had before a run that was killed. */
const noteFile = inRoot('out/bench/hugepages-before');

/** Makes huge pages free for so many megabytes; the answer puts things back. */
export function reserveHugePages(megabytes) {
  const release = () => {
    if (!existsSync(noteFile)) return;
    writeFileSync(poolFile, readFileSync(noteFile, 'utf8'));
    rmSync(noteFile);
  };
  release();
  const meminfo = readFileSync('/proc/meminfo', 'utf8');
  const read = (name) => Number(meminfo.match(new RegExp(`^${name}:\\s+(\\d+)`, 'm'))[1]);
  const wanted = Math.ceil((megabytes * 1024) / read('Hugepagesize')) - read('HugePages_Free');
  if (wanted <= 0) return release;
  const before = readFileSync(poolFile, 'utf8').trim();
  writeFileSync(noteFile, before);
  const total = Number(before) + wanted;
  for (let tries = 0; tries < 5; tries++) {
    writeFileSync(poolFile, String(total));
    if (Number(readFileSync(poolFile, 'utf8')) >= total) return release;
    writeFileSync('/proc/sys/vm/compact_memory', '1'); // What is free lies scattered.
  }
  release();
  throw new Error(`the kernel has no ${megabytes} MB to spare in huge pages`);
}

// ------------------------------------------------------------------------------------------------------------- traffic

const plugin = 'out/bench/libtraffic.so';

/** The plug-in that writes frames, built if it has changed. Its path. */
export async function buildTraffic() {
  const sources = ['test/bench/dpdk/traffic.cc', 'native/netdev/generator.h'];
  const flags = (await execute('pkg-config', ['--cflags', '--libs', 'libdpdk']))
    .trim()
    .split(/\s+/);
  const hash = hashOf(sources, flags);
  await whenChanged({ stamp: `${plugin}.stamp`, output: plugin, hash }, () => {
    const words = ['-O3', '-std=c++20', '-shared', '-fPIC', '-Wno-volatile'];
    const paths = [`-I${inRoot('native')}`, inRoot(sources[0]), '-o', inRoot(plugin)];
    return execute('g++', [...words, ...paths, ...flags], { timeoutMs: 120_000 });
  });
  return inRoot(plugin);
}

const orders = ['turn', 'uniform', 'zipf'];

/** The page that the plug-in of one program reads and writes; the offsets are those of traffic.cc. */
export class Traffic {
  #file;
  #generation = 0;
  #before = 0;

  /** `folder`: where the page's file is to be. */
  constructor(folder, plugin) {
    this.path = join(folder, 'traffic');
    this.plugin = plugin;
    writeFileSync(this.path, Buffer.alloc(4096));
    this.#file = openSync(this.path, 'r+');
  }

  /** The command line that runs a program with the plug-in in it. */
  command = (...words) => [
    'env',
    `LD_PRELOAD=${this.plugin}`,
    `POLLUX_TRAFFIC=${this.path}`,
    ...words,
  ];

  #write(at, ...numbers) {
    const words = Uint32Array.from(numbers);
    writeSync(this.#file, words, 0, words.byteLength, at);
  }
  #read(at) {
    const count = Buffer.alloc(8);
    readSync(this.#file, count, 0, 8, at);
    return Number(count.readBigUInt64LE());
  }

  get attached() {
    return this.#read(136) % 2 ** 32 !== 0;
  }
  /** Frames that the program was given. */
  get written() {
    return this.#read(64);
  }
  get #missing() {
    return this.#read(64) - this.#read(128);
  }

  /** Frames flow; nothing did. */
  run({ size, flows, masks, order, strangerEvery = 0 }) {
    this.#before = this.#missing;
    this.#write(8, size, flows, masks, orders.indexOf(order), strangerEvery);
    this.#write(0, ++this.#generation);
    this.#write(4, 1);
  }
  /** No more. Frames written and not sent since run(). */
  async stop() {
    this.#write(4, 0);
    await sleep(40); // What is on its way arrives, and is told.
    return this.#missing - this.#before;
  }
}
