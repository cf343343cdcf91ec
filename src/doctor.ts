/**
 * What this machine offers each port type, what is missing, and the line to type. Probing is done
 * by the core, which tries what drivers need and undoes it at once; no interface is touched, only the
 * kernel's list of them is looked at. The rest is read from /proc and /sys.
 */
import { existsSync, readFileSync } from 'node:fs';
import { arch, availableParallelism, release } from 'node:os';
import { addon } from './binding.js';
import type { PortType } from './ports/types.js';

export interface DoctorFinding {
  /** 'missing': without it the type cannot be used; 'advice': it can, but better with it. */
  readonly severity: 'missing' | 'advice';
  /** A sentence. */
  readonly text: string;
  /**
   * What to type into a shell; absent where nothing helps. `node app.mjs` stands for the program,
   * PEER for the interface at the other end.
   */
  readonly command?: string;
}

export interface DoctorPortType {
  readonly type: PortType;
  readonly available: boolean;
  /** Why not, as `Datapath.portTypes()` says. */
  readonly reason?: string;
  readonly findings: readonly DoctorFinding[];
}

export interface DoctorReport {
  readonly machine: {
    /** Version of the kernel. */
    readonly kernel: string;
    readonly arch: string;
    readonly node: string;
    readonly cores: number;
    readonly uid: number;
    /** Those in force that matter to ports, without 'CAP_'. */
    readonly capabilities: readonly string[];
    readonly container: boolean;
    /** Root here is not root of the machine. */
    readonly userNamespace: boolean;
    /** Bytes that may be locked; null: no limit. */
    readonly memlock: number | null;
    readonly hugePages: { readonly transparent: string; readonly reserved: number };
  };
  readonly portTypes: readonly DoctorPortType[];
  /** Findings that concern all port types. */
  readonly findings: readonly DoctorFinding[];
  /** For people to read. */
  toString(): string;
}

// ------------------------------------------------------------------------------------------------------------ looking

/** Numbers of capabilities, see linux/capability.h. */
const kCapabilities = {
  NET_BROADCAST: 11,
  NET_ADMIN: 12,
  NET_RAW: 13,
  IPC_LOCK: 14,
  SYS_ADMIN: 21,
  SYS_RESOURCE: 24,
  BPF: 39,
} as const;
type Capability = keyof typeof kCapabilities;

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** The capabilities in force ('CapEff'), or those that can be had at all ('CapBnd'), by /proc/self/status. */
function capabilities(set: 'CapEff' | 'CapBnd'): Capability[] {
  const line = read('/proc/self/status').match(new RegExp(`^${set}:\\s*(\\w+)`, 'm'));
  const mask = BigInt(`0x${line?.[1] ?? '0'}`);
  const names = Object.keys(kCapabilities) as Capability[];
  return names.filter((name) => (mask >> BigInt(kCapabilities[name])) & 1n);
}

function lookAtMachine(): DoctorReport['machine'] {
  const memlock = read('/proc/self/limits').match(/^Max locked memory\s+(\S+)/m)?.[1];
  return {
    kernel: release(),
    arch: arch(),
    node: process.versions.node,
    cores: availableParallelism(),
    uid: process.getuid?.() ?? 0,
    capabilities: capabilities('CapEff'),
    container:
      existsSync('/.dockerenv') ||
      existsSync('/run/.containerenv') ||
      /docker|kubepods|lxc|containerd/.test(read('/proc/1/cgroup')),
    userNamespace: !/^\s*0\s+0\s+4294967295\s*$/.test(read('/proc/self/uid_map')),
    memlock: memlock === undefined || memlock === 'unlimited' ? null : Number(memlock),
    hugePages: {
      transparent:
        read('/sys/kernel/mm/transparent_hugepage/enabled').match(/\[(\w+)\]/)?.[1] ?? 'none',
      reserved: Number(read('/proc/sys/vm/nr_hugepages')),
    },
  };
}

// ----------------------------------------------------------------------------------------------------------- findings

/** The longest frame that a kernel makes without BIG TCP. */
const kUsualSize = 65_536;
const EPERM = -1;
const ENOENT = -2;
const ENXIO = -6;
const EACCES = -13;
const ENODEV = -19;
const EAFNOSUPPORT = -97;
const ENOBUFS = -105;
const denied = (error: number) => error === EPERM || error === EACCES;

/** A kernel of at least this version. */
function atLeast(kernel: string, major: number, minor: number): boolean {
  const [a = 0, b = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return a > major || (a === major && b >= minor);
}

/** The line by which root starts a program as the user who types, with these capabilities and no others. */
function passingOn(wanted: readonly Capability[]): string {
  const list = wanted.map((name) => `+${name.toLowerCase()}`).join(',');
  const who = '--reuid=$(id -u) --regid=$(id -g) --init-groups';
  return `sudo setpriv ${who} --inh-caps=${list} --ambient-caps=${list} node app.mjs`;
}

class Examination {
  readonly machine = lookAtMachine();
  readonly #probes = addon.probeMachine();
  readonly #within = capabilities('CapBnd');

  #error(probe: string): number {
    return this.#probes[probe] ?? 0;
  }

  #missing(text: string, command?: string): DoctorFinding {
    return { severity: 'missing', text, ...(command !== undefined && { command }) };
  }
  #advice(text: string, command?: string): DoctorFinding {
    return { severity: 'advice', text, ...(command !== undefined && { command }) };
  }

  /** Says whether nobody but who starts the container can give these. */
  #fromOutside(wanted: readonly Capability[]): boolean {
    return this.machine.container && !wanted.every((name) => this.#within.includes(name));
  }

  /** A finding, and how to get what is not in force of these capabilities. */
  #lacks(wanted: readonly Capability[]): DoctorFinding[] {
    const lacking = wanted.filter((name) => !this.machine.capabilities.includes(name));
    if (lacking.length === 0) return [];
    const text = `the process lacks ${lacking.map((name) => `CAP_${name}`).join(' and ')}`;
    if (this.#fromOutside(wanted)) {
      const options = wanted.map((name) => `--cap-add=${name}`).join(' ');
      return [this.#missing(`${text}: start the container with them`, `docker run ${options} …`)];
    }
    return [this.#missing(`${text}: root has them, and can pass them on`, passingOn(wanted))];
  }

  #packet(): DoctorFinding[] {
    const error = this.#error('packetSocket');
    if (error === EAFNOSUPPORT) {
      const text = 'the kernel has no packet sockets (CONFIG_PACKET)';
      return [this.#missing(text, 'sudo modprobe af_packet')];
    }
    if (error !== 0) return this.#lacks(['NET_RAW']);
    if (this.#error('packetRing') !== 0) {
      return [this.#missing('packet sockets have no rings of version 2: Linux 4.15 or later has')];
    }
    const taps =
      'tcpdump on the interface shows next to nothing that the port sends, unless it is opened with `visible: true` (af_xdp, too)';
    const findings = [this.#advice(taps)];
    const buffer = 16 << 20;
    const most = Number(read('/proc/sys/net/core/rmem_max'));
    if (this.machine.capabilities.includes('NET_ADMIN') || most >= buffer) return findings;
    const text = `without CAP_NET_ADMIN, large frames wait in buffers of ${most} bytes at most`;
    return [...findings, this.#advice(text, `sudo sysctl -w net.core.rmem_max=${buffer}`)];
  }

  #tap(): DoctorFinding[] {
    const error = this.#error('tun');
    const findings: DoctorFinding[] = [];
    if (error === ENOENT || error === ENODEV || error === ENXIO) {
      findings.push(this.#noTun());
    } else if (denied(error)) {
      const text = 'this user may not open /dev/net/tun';
      findings.push(this.#missing(text, 'sudo chmod 666 /dev/net/tun'));
    } else if (this.#error('tunFeatures') !== 0) {
      findings.push(this.#missing('taps have no several queues: Linux 3.8 or later has'));
    }
    return [...findings, ...this.#lacks(['NET_ADMIN'])];
  }

  #noTun(): DoctorFinding {
    const text = '/dev/net/tun is not there';
    if (this.machine.container) {
      const options = '--device /dev/net/tun --cap-add=NET_ADMIN';
      return this.#missing(`${text}: pass it into the container`, `docker run ${options} …`);
    }
    // The kernel has the driver, and only the file is not there.
    if (/^\s*200 tun$/m.test(read('/proc/misc'))) {
      const make = 'mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200';
      return this.#missing(text, `sudo sh -c '${make}'`);
    }
    return this.#missing(`${text}, for want of the module tun`, 'sudo modprobe tun');
  }

  #xdp(): DoctorFinding[] {
    const findings: DoctorFinding[] = [];
    if (this.#error('xdpSocket') === EAFNOSUPPORT) {
      return [this.#missing('the kernel has no AF_XDP (CONFIG_XDP_SOCKETS, since Linux 4.18)')];
    }
    if (!atLeast(this.machine.kernel, 5, 9)) {
      findings.push(this.#missing('links of XDP programs need Linux 5.9 or later'));
    }
    const bpf: Capability = atLeast(this.machine.kernel, 5, 8) ? 'BPF' : 'SYS_ADMIN';
    const holdsAll = this.machine.capabilities.includes('SYS_ADMIN');
    const wanted: Capability[] = ['NET_RAW', 'NET_ADMIN', ...(holdsAll ? [] : [bpf])];
    findings.push(...this.#lacks(wanted));
    if (findings.length === 0 && this.#error('xdpProgram') !== 0) {
      const why = this.machine.userNamespace
        ? 'and no capability of a user namespace suffices: root of the machine may'
        : 'though it has the capabilities: a security module may forbid it';
      findings.push(this.#missing(`the process may not load an XDP program, ${why}`));
    }
    if (this.#error('umem') === ENOBUFS) findings.push(this.#memlock(wanted));
    return [...findings, ...this.#xdpLimits()];
  }

  /** Findings on what an af_xdp port cannot have here, at all or in one of its modes. */
  #xdpLimits(): DoctorFinding[] {
    const findings: DoctorFinding[] = [];
    if (!atLeast(this.machine.kernel, 6, 3)) {
      const text = 'offloadFlows has no effect: Linux 6.3 or later tells which ports take part';
      findings.push(this.#advice(text));
    }
    const who = atLeast(this.machine.kernel, 6, 8)
      ? 'mode "generic"'
      : 'before Linux 6.8 every mode';
    const text = `${who} loses VLAN tags that the sender keeps beside the frame: have it write them in`;
    findings.push(this.#advice(text, 'sudo ethtool -K PEER txvlan off'));
    return findings;
  }

  #memlock(wanted: readonly Capability[]): DoctorFinding {
    const text = `only ${this.machine.memlock} bytes may be locked in memory, and a thread needs 32 MiB`;
    const outside = this.machine.container ? 'docker run --ulimit memlock=-1 …' : undefined;
    if (this.machine.userNamespace) {
      return this.#missing(`${text}: only root of the machine can raise that`, outside);
    }
    if (!this.#fromOutside(['SYS_RESOURCE'])) {
      const shell = 'raise the limit of the shell, and start the program from it';
      const raise = 'sudo prlimit --pid $$ --memlock=unlimited:unlimited';
      return this.#missing(`${text}: ${shell}`, raise);
    }
    if (this.#fromOutside(['IPC_LOCK'])) return this.#missing(text, outside);
    return this.#missing(`${text}, without CAP_IPC_LOCK`, passingOn([...wanted, 'IPC_LOCK']));
  }

  ofType(type: string): DoctorFinding[] {
    if (type === 'af_packet') return this.#packet();
    if (type === 'tap') return this.#tap();
    if (type === 'af_xdp') return this.#xdp();
    return [];
  }

  general(): DoctorFinding[] {
    const file = '/sys/kernel/mm/transparent_hugepage/enabled';
    const findings = this.#bigFrames();
    if (this.machine.hugePages.transparent !== 'never') return findings;
    const text = 'packets and large tables stand on small pages';
    return [...findings, this.#advice(text, `echo madvise | sudo tee ${file}`)];
  }

  /** Interfaces of BIG TCP, whatever is at their other end. */
  #bigFrames(): DoctorFinding[] {
    return addon.links().flatMap(({ name, maxGso, maxGro }) => {
      const sizes = Object.entries({ gso_max_size: maxGso, gro_max_size: maxGro });
      const big = sizes.filter(([, size]) => size > kUsualSize);
      if (big.length === 0) return [];
      const most = Math.max(maxGso, maxGro);
      const text = `${name} has frames of up to ${most} bytes (BIG TCP): af_packet ports cut those of TCP in software, others refuse them`;
      const usual = big.map(([which]) => `${which} ${kUsualSize}`).join(' ');
      return [this.#advice(text, `sudo ip link set dev ${name} ${usual}`)];
    });
  }
}

// ------------------------------------------------------------------------------------------------------------- report

function textOf({ machine, portTypes, findings }: Omit<DoctorReport, 'toString'>): string {
  const { kernel, arch: cpu, node, cores, uid, capabilities, memlock, hugePages } = machine;
  const where = machine.container ? ', in a container' : '';
  const indent = ' '.repeat(12);
  const show = ({ severity, text, command }: DoctorFinding) => [
    `${indent}${severity === 'missing' ? 'missing' : 'better'}: ${text}`,
    ...(command === undefined ? [] : [`${indent}  ${command}`]),
  ];
  return [
    `Linux ${kernel} ${cpu}, Node ${node}, ${cores} cores, uid ${uid}${where}`,
    `capabilities: ${capabilities.join(' ') || 'none that matter'}`,
    `locked memory: ${memlock === null ? 'no limit' : `${memlock} bytes`}; huge pages: ${hugePages.transparent}, ${hugePages.reserved} reserved`,
    '',
    ...portTypes.flatMap(({ type, available, reason, findings: its }) => [
      `${type.padEnd(12)}${available ? 'ready' : (reason ?? 'not available here')}`,
      ...its.flatMap(show),
    ]),
    ...(findings.length === 0 ? [] : ['', 'all types', ...findings.flatMap(show)]),
  ].join('\n');
}

const isMissing = ({ severity }: DoctorFinding) => severity === 'missing';

/** Looks at this machine and this process as they are now. Opens no port and changes nothing. */
export function doctor(): DoctorReport {
  const examination = new Examination();
  const report = {
    machine: examination.machine,
    portTypes: addon.portTypes().map(({ type, available, ...reason }) => {
      const findings = examination.ofType(type);
      const usable = available && !findings.some(isMissing);
      return { type: type as PortType, available: usable, ...reason, findings };
    }),
    findings: examination.general(),
  };
  // It must not be a property that JSON or a comparison would see.
  return Object.defineProperty(report, 'toString', { value: () => textOf(report) }) as DoctorReport;
}
