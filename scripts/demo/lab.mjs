// A lab: hosts in network namespaces of their own, each with one veth pair whose other end lies in the namespace of the
// process that made the lab. Nothing has a name outside: a namespace lives as long as the process in it, and that process
// ends when its lab's process does, however that ends. So there is never anything to clean up.
//
//        the lab's process               a host: its process, host.mjs
//      ┌───────────────────┐             ┌───────────────────────────┐
//      │            NAME ──┼── veth ─────┼── eth0   192.0.2.N        │
//      └───────────────────┘             │          2001:db8::N      │
//                                        └───────────────────────────┘
//
// The tests use it, too.
import { execFile, fork, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const hostProgram = fileURLToPath(new URL('host.mjs', import.meta.url));
const sbin = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** How to get a network namespace: `unshare` with these arguments. */
export const unshare = {
  root: ['--net'],
  user: ['--user', '--map-root-user', '--net'],
};

/** Why namespaces cannot be made this way, or undefined. */
export function obstacle(way) {
  // Whether `ip` can make a veth pair there tells most of what may be missing.
  const script = 'ip link add pollux0 type veth peer name pollux1';
  const { error, status, stderr } = spawnSync('unshare', [...unshare[way], 'sh', '-c', script], {
    env: sbin,
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (status === 0) return undefined;
  return error?.message ?? (stderr.trim().split('\n').at(-1) || `unshare ended with ${status}`);
}

/** The first of `ways` that works; else { reasons }. */
export function wayToNamespaces(ways = process.getuid() === 0 ? ['root', 'user'] : ['user']) {
  const reasons = [];
  for (const way of ways) {
    const reason = obstacle(way);
    if (reason === undefined) return { way };
    reasons.push(reason);
  }
  return { reasons };
}

/** Starts a Node program in a new network namespace, with a channel for messages to it. It should end when that closes. */
export function forkInNamespace(program, args, { way = 'root', ...options } = {}) {
  // `unshare` becomes the program, so the child's pid is the program's.
  return fork(program, args, {
    ...options,
    execPath: 'unshare',
    execArgv: [...unshare[way], process.execPath, ...(options.execArgv ?? [])],
    env: { ...sbin, ...options.env },
  });
}

/** Runs `ip` (or another program) here; returns what it prints. */
export async function run(command, ...args) {
  const { stdout } = await execute(command, args, { env: sbin, timeout: 20_000 });
  return stdout;
}
export const ip = (text) => run('ip', ...text.split(' '));

/** What `ip -s link` says of an interface here. */
export async function linkOf(device) {
  return JSON.parse(await run('ip', '-j', '-d', '-s', 'link', 'show', 'dev', device))[0];
}

/** Waits until an interface that was set up is up indeed: the kernel takes a moment. */
export async function hasCarrier(device) {
  for (let tries = 0; tries < 200 && (await linkOf(device)).operstate !== 'UP'; tries++) {
    await setTimeout(10);
  }
}

/** A kernel setting of this namespace. False: it cannot be set here. */
export function sysctl(name, value) {
  try {
    writeFileSync(`/proc/sys/${name}`, String(value));
    return true;
  } catch {
    return false;
  }
}

/** To be called once, in a process that forkInNamespace() started. */
export function prepareNamespace() {
  // The outer ends belong to the datapath: the kernel shall not speak on them, nor answer there for a tap's address.
  for (const which of ['all', 'default']) sysctl(`net/ipv6/conf/${which}/disable_ipv6`, 1);
  sysctl('net/ipv4/conf/all/arp_ignore', 1);
}

/** A host: `await host.call(verb, argument)` does what host.mjs offers under that name. */
export class Host {
  #child;
  #calls = new Map();
  #lastCall = 0;

  constructor(name, number) {
    this.name = name;
    this.ipv4 = `192.0.2.${number}`;
    this.ipv6 = `2001:db8::${number}`;
  }

  /** Makes the namespace and the veth pair. `own: false`: no namespace, it lives in the lab's. `wired: false`: no pair. */
  static async start(name, number, { own = true, wired = own, mtu } = {}) {
    const host = new Host(name, number);
    const options = { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] };
    const child = own
      ? forkInNamespace(hostProgram, [], options)
      : fork(hostProgram, [], { ...options, env: sbin });
    host.#child = child;
    await new Promise((resolve, reject) => {
      child.once('message', resolve);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`host ${name} ended with ${code}`)));
    });
    child.on('message', ({ call, result, error }) => {
      const { resolve, reject } = host.#calls.get(call);
      host.#calls.delete(call);
      if (error === undefined) resolve(result);
      else reject(new Error(`host ${name}: ${error}`));
    });
    child.on('exit', () => {
      for (const { reject } of host.#calls.values()) reject(new Error(`host ${name} ended`));
      host.#calls.clear();
    });
    await host.ip('link set lo up');
    if (wired) await host.connect({ mtu });
    return host;
  }

  get pid() {
    return this.#child.pid;
  }

  /** Makes the veth pair (again). */
  async connect({ mtu } = {}) {
    const size = mtu === undefined ? '' : ` mtu ${mtu}`;
    await ip(`link add ${this.name}${size} type veth peer name eth0${size} netns ${this.pid}`);
    await this.#comeUp();
    await ip(`link set ${this.name} up`);
    await hasCarrier(this.name);
  }

  /** Takes an interface of the lab's, a tap, for its own instead of a veth pair. */
  async adopt(device) {
    await ip(`link set ${device} netns ${this.pid}`);
    await this.ip(`link set ${device} name eth0`);
    await this.#comeUp();
  }

  async #comeUp() {
    await this.ip(`addr add ${this.ipv4}/24 dev eth0`);
    await this.ip(`addr add ${this.ipv6}/64 dev eth0 nodad`).catch(() => {}); // a kernel without IPv6
    await this.ip('link set eth0 up');
  }

  call(verb, argument = {}) {
    return new Promise((resolve, reject) => {
      const call = ++this.#lastCall;
      this.#calls.set(call, { resolve, reject });
      this.#child.send({ call, verb, argument }, (error) => {
        if (error && this.#calls.delete(call)) reject(new Error(`host ${this.name} has ended`));
      });
    });
  }

  /** A program in the host's namespace; what it prints. */
  run(command, ...args) {
    return this.call('run', { command, args });
  }
  ip(text) {
    return this.run('ip', ...text.split(' '));
  }

  /** The namespace goes, and the pair with it. */
  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    if (this.#child.connected) this.#child.disconnect();
    await Promise.race([gone, setTimeout(2_000, undefined, { ref: false })]);
    this.#child.kill('SIGKILL');
    await gone;
  }
}
