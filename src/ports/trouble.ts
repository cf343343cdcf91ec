/** Troubles of ports that nothing else tells of: the meaning of the core's words, and what to do about each. */
import type { NativeEvent } from '../binding.js';
import { jsonable } from '../json.js';
import type { PortRecord } from './handle.js';

/** A port refuses or loses what arrives, or got less than it asked for. */
export interface PortTrouble {
  /** The port's name. */
  readonly port: string;
  /**
   * What it is about: the counter of `PortStats` that rose most ('rxChecksumErrors', 'rxDropped', …),
   * or what was not obtained, as
   * `port.mode` has it ('host-stack', 'no-xsk-tx', 'no-busy-poll', 'no-flow-offload') or is amiss
   * with the interface ('shared', 'macvlan').
   */
  readonly reason: string;
  /** The counters of the port's statistics that rose since the last such event, and by how much. */
  readonly counters: Readonly<Partial<Record<'rxErrors' | 'rxDropped', bigint>>>;
  /** One sentence for people. */
  readonly meaning: string;
  /** The line to type, or what to do; PEER stands for the interface at the other end. */
  readonly todo: string;
}

interface Text {
  readonly meaning: string;
  readonly todo: (device: string, type: string) => string;
  /** Nothing is lost and nothing was asked for: only whoever listens is told. */
  readonly quiet?: true;
}

/** Whose stack leaves frames unfinished: behind a tap it is the host's own. */
const sender = (device: string, type: string) => (type === 'tap' ? device : 'PEER');

const kTexts: Readonly<Record<string, Text>> = {
  rxSegmentErrors: {
    meaning:
      'frames arrive that are to be cut in a way that Pollux does not know; they are thrown away',
    todo: (device, type) =>
      `sudo ethtool -K ${sender(device, type)} tso off gso off, or where ${device} is a card: sudo ethtool -K ${device} gro off lro off`,
  },
  rxChecksumErrors: {
    meaning:
      'frames arrive whose sender left a checksum unfinished that nobody here can finish; they are thrown away',
    todo: (device, type) => `sudo ethtool -K ${sender(device, type)} tx off`,
  },
  rxLengthErrors: {
    meaning:
      'frames arrive that are longer than 64 KiB (BIG TCP) and cannot be cut; they are thrown away',
    todo: (device, type) => `sudo ip link set dev ${sender(device, type)} gso_max_size 65536`,
  },
  rxBufferErrors: {
    meaning:
      'large frames arrive faster than they are taken, or the kernel grants too small a buffer for them',
    todo: () => 'sudo sysctl -w net.core.rmem_max=16777216, or give the port more `rxqs`',
  },
  rxFrameErrors: {
    meaning: 'frames arrive that are empty, cut off, or not of Ethernet; they are thrown away',
    todo: (device, type) =>
      type === 'pcap'
        ? 'capinfos says what the capture holds; record with tcpdump -y EN10MB'
        : `sudo ethtool -S ${device} tells what the device counts`,
  },
  rxDropped: {
    meaning: 'frames arrive faster than the threads that poll the port take them; the rest is lost',
    todo: () => 'give the port more `rxqs` and the datapath more `pmdCpus`',
    quiet: true,
  },
  'host-stack': {
    meaning:
      "what arrives also enters the host's own network stack, which may answer or route it a second time",
    todo: () =>
      'give the process CAP_BPF and CAP_NET_ADMIN on Linux 6.6 or later, or say `hostStack: true` if it may stay so',
  },
  'no-xsk-tx': {
    meaning:
      'ordinary frames leave through packet sockets, more slowly than through an AF_XDP socket',
    todo: () =>
      'ulimit -l unlimited, or CAP_IPC_LOCK; and nobody else may hold an AF_XDP socket on queue 0 of the interface',
    quiet: true,
  },
  shared: {
    meaning:
      'another process has a Pollux port on this interface: each of the two receives every frame, and both forward it',
    todo: () => 'stop one of the two: sudo ss -xap | grep @pollux-port- tells which process it is',
  },
  macvlan: {
    meaning:
      'the interface is a macvlan, which gets frames for its own address alone: those for hosts behind Pollux never arrive',
    todo: (device) =>
      `sudo ip link del ${device} && sudo ip link add link LOWER name ${device} type macvlan mode passthru, or a port on LOWER itself; or say \`promiscuous: false\``,
  },
  'no-busy-poll': {
    meaning:
      "the thread that polls does not do the driver's receiving, though `busyPoll` asks for it",
    todo: () => 'give the process CAP_NET_ADMIN on Linux 5.11 or later, or leave `busyPoll` out',
  },
  'no-flow-offload': {
    meaning: 'no flow is forwarded by the XDP program, though `offloadFlows` asks for it',
    todo: () => 'take mode "native" on Linux 6.3 or later, or leave `offloadFlows` out',
  },
};

/** Says whether a trouble is worth a warning where nobody listens. */
export function warnsOf(reason: string): boolean {
  return kTexts[reason]?.quiet === undefined;
}

/** Lines to type, for a port of another network namespace. */
function within(netns: string | undefined, lines: string): string {
  if (netns === undefined) return lines;
  return lines.replace(/sudo (?=ip |ethtool |ss )/g, `sudo nsenter --net=${netns} `);
}

export function troubleOf(event: NativeEvent, port: PortRecord): PortTrouble {
  const { text: reason, errors, dropped } = event;
  const text = kTexts[reason];
  const device = port.spec?.device ?? port.name;
  return jsonable({
    port: port.name,
    reason,
    counters: {
      ...(errors > 0n && { rxErrors: errors }),
      ...(dropped > 0n && { rxDropped: dropped }),
    },
    meaning: text?.meaning ?? reason,
    todo: within(port.spec?.netns, text?.todo(device, port.type) ?? ''),
  });
}
