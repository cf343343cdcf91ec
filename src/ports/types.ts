/** Ports as the API has them: what one asks for, and the handle one gets. */
import type { PortStats } from '../stats.js';

/** 0..65535; 0 is reserved for LOCAL, the host's own tap. */
export type PortNumber = number;
/** A port by handle, name or number. */
export type PortRef = Port | string | PortNumber;

export interface PortCommon {
  /**
   * Unique within the datapath. Not what means something else where the text of a flow names ports: a
   * number ('2', '0x1f') or an action ('drop').
   */
  readonly name: string;
  /** Default: the lowest free from 1. 0 is LOCAL, the host's own tap: only a `tap` may ask for it. */
  readonly number?: PortNumber;
  /** Receive queues. Default 1. */
  readonly rxqs?: number;
  /** Polled by PMD threads, or by the non-PMD thread; the default is the type's own. */
  readonly pmd?: boolean;
  /** Queue -> core. EINVAL for a core that this machine or process does not have. */
  readonly rxqAffinity?: Readonly<Record<number, number>>;
  /**
   * Longest sleep, in microseconds, of PMD threads that poll the port while it is idle; 0 = they
   * spin. Default: the datapath's own.
   */
  readonly pmdSleepMaxUs?: number;
  /** Bytes above the Ethernet header. Default: what the device has. */
  readonly mtu?: number;
  /** NUMA node of the device. Default: what the kernel says, else 0. */
  readonly numa?: number;
}

/** The frames that a `null` port generates. */
export interface Generate {
  /** Bytes of a frame, without FCS. Default 60. */
  readonly size?: number;
  /** Distinct five-tuples, at most 2²⁴. Default 1. */
  readonly flows?: number;
  /**
   * Into how many equal classes the flows fall, of which each takes a mask of its own; at most 102.
   * Default 1.
   */
  readonly masks?: number;
  /** Chooses the next flow: each in turn, any with the same chance, or by Zipf's law. Default 'turn'. */
  readonly order?: 'turn' | 'uniform' | 'zipf';
  /** One frame in so many has random addresses and ports; 0: none. Default 0. */
  readonly strangerEvery?: number;
  /** Frames in all; 0: endless. Default 0. */
  readonly limit?: number;
}

/** Options of ports that are an interface of the kernel's. */
export interface OfInterface {
  /** The interface, by any of its names (`ip link property add … altname`); default: `name`. */
  readonly device?: string;
  /**
   * What is sent is seen by taps of the host, such as tcpdump: it goes through packet sockets and the
   * interface's qdisc, more slowly. `mode` says 'visible'. Default false: taps see what arrives, and of
   * what is sent next to nothing.
   */
  readonly visible?: boolean;
  /**
   * Frames leave past the interface's qdisc, unless somebody has put one there (`tc qdisc add`): then
   * all go through it, `mode` says 'qdisc', and follows when it changes. 'bypass': none do, whatever
   * there is, and frames to be segmented are segmented by Pollux if there is one; `mode` says
   * 'qdisc-bypass'. Default 'use'.
   */
  readonly qdisc?: 'use' | 'bypass';
  /** The interface takes frames for any address; false: for its own and broadcasts. Default true. */
  readonly promiscuous?: boolean;
}

/** An option that says where the interface of a port is. */
export interface InNamespace {
  /**
   * Another network namespace than the process's own: a path (`/var/run/netns/NAME`, `/proc/PID/ns/net`)
   * or the pid of a process in it. One process so serves many containers. Takes CAP_SYS_ADMIN. The
   * namespace lives at least as long as the port.
   */
  readonly netns?: string | number;
}

/** An option of ports whose interface somebody else makes. */
export interface Awaited {
  /**
   * The interface may come later: instead of ENODEV the port is there, 'gone' (`mode` says 'waiting'), drops
   * what is sent to it, and comes up as soon as the interface does. Default false.
   */
  readonly wait?: boolean;
}

export type PortSpec =
  /**
   * Frames in and out by the program itself. `queueLength`: frames that each receive queue, and
   * the queue of frames to be drained, hold (default 1024 and 4096, up to 4,194,304); all receive
   * queues of the port together at most 16,777,216. Each queue also keeps to half of the packet
   * memory, so that a port nobody drains leaves some to others; what does not fit is dropped
   * (`rxDropped`, `tx_queue_full`). `openDelayMs`: a device that is slow to open, for tests.
   */
  | (PortCommon & {
      readonly type: 'memory';
      readonly queueLength?: number;
      readonly openDelayMs?: number;
    })
  /** Swallows; with `generate`, a source for benchmarks. */
  | (PortCommon & { readonly type: 'null'; readonly generate?: boolean | Generate })
  /**
   * An interface of the kernel, through packet sockets. `hostStack`: what arrives also enters the
   * host's own network stack, as it does beside a capture; default false: it is Pollux's alone.
   * `mode` says 'ingress-drop' where that is so, 'host-stack' where it is not, because you asked for
   * it or because the kernel cannot (tcx, Linux 6.6); and 'xsk-tx' where ordinary frames are sent
   * through an AF_XDP socket, which is faster and leaves no room for another one on queue 0.
   */
  | (PortCommon &
      OfInterface &
      InNamespace &
      Awaited & { readonly type: 'af_packet'; readonly hostStack?: boolean })
  | (PortCommon &
      OfInterface &
      InNamespace &
      Awaited & {
        readonly type: 'af_xdp';
        /** The best that the device offers by default; `port.mode` says what was obtained. */
        readonly mode?: 'best' | 'zerocopy' | 'native' | 'generic';
        /**
         * The thread that polls also does what the driver does to receive, which an interrupt does
         * otherwise, perhaps on another core. For cards whose interrupts come to the thread's own core;
         * best with `napi_defer_hard_irqs` and `gro_flush_timeout` set in /sys/class/net/DEVICE (2 and
         * 200000, say), since then a busy card raises none. Costs a system call each time there is nothing
         * to receive; on a veth pair it takes work over that was the sender's. `port.mode` says 'busy-poll',
         * or 'no-busy-poll' where it cannot be had: it takes Linux 5.11 and CAP_NET_ADMIN. Default: false.
         */
        readonly busyPoll?: boolean;
        /**
         * Flows with more packets a second (default 10,000) may be forwarded by the port's own XDP
         * program, several times as fast as by a thread. So far: flows that drop, or output to one port
         * of type af_xdp or af_packet whose far end takes redirected frames (of a veth pair, when GRO is
         * on there: `ethtool -K … gro on`), and of these the TCP and UDP packets over plain IPv4;
         * everything else goes the usual way. Flows change and end as ever: what they were is no longer
         * done when `put()` or `delete()` returns. If such a flow was offloaded, that takes some tens of
         * milliseconds.
         *
         * All of it is counted as if a thread had forwarded it; `offloaded` of a flow and
         * `offloadedPackets` of the port's statistics tell it apart. What a full queue of the far end
         * loses the kernel tells nobody: it counts as sent. Default: false.
         *
         * `port.mode` says 'flow-offload', or 'no-flow-offload' where it cannot be had: it takes mode
         * 'native' and Linux 6.3.
         */
        readonly offloadFlows?: boolean | { readonly packetsPerSecond?: number };
      })
  | (PortCommon & InNamespace & { readonly type: 'tap'; readonly device?: string })
  /**
   * Replays a capture file (pcap or pcapng, of Ethernet; frames of other link types in pcapng are rx errors,
   * and check sequences that the file announces are left out), records what is sent to it in another, or
   * both. '-' is standard input or output; a named pipe will do, too. When all is read the port goes
   * down.
   */
  | (PortCommon & {
      readonly type: 'pcap';
      readonly read?: string;
      /**
       * A new file, or emptied; pcapng, or pcap if the name ends in '.pcap'. A record has the time at which
       * its packet arrived and its length on the wire, where the port it came from tells (af_packet the
       * time, pcap both); else it is of the moment when it was sent.
       */
      readonly write?: string;
      /** Again and again. Default false. */
      readonly loop?: boolean;
      /** Replays as fast as possible, or with the gaps of the time stamps. Default 'asap'. */
      readonly pace?: 'asap' | 'timestamps';
    })
  | (PortCommon & { readonly type: 'dpdk'; readonly devargs: string })
  | (PortCommon & { readonly type: 'vxlan' | 'geneve' | 'gre'; readonly udpPort?: number });

export type PortType = PortSpec['type'];

/**
 * A handle; a copy of it (`{ ...port }`) is a snapshot of its fields. It stays what it is when the port is renumbered, and says 'closed' when the port is
 * deleted.
 */
export interface Port {
  readonly name: string;
  readonly number: PortNumber;
  readonly type: PortType;
  readonly pmd: boolean;
  readonly state: 'up' | 'down' | 'gone' | 'closed';
  /** Words for what is really obtained now, e.g. 'tpacket-v2 vnet-hdr ingress-drop'. */
  readonly mode: string;
  /** Throws ENODEV once the port is deleted. */
  stats(): PortStats;
}

export interface MemoryPort extends Port {
  readonly type: 'memory';
  /**
   * Hand frames, one or any that can be iterated over, to the datapath as if they had arrived. Returns how many the queue took; the others
   * are counted as rxDropped, or rxErrors for a frame that is empty or longer than 65,535 bytes.
   * ENODEV: deleted; EINVAL: no such queue.
   */
  inject(frames: Uint8Array | Iterable<Uint8Array>, options?: { readonly rxq?: number }): number;
  /** Take up to `max` frames that the datapath has sent, oldest first. Default: all. */
  drain(max?: number): Buffer[];
}

export type PortOf<T extends PortSpec> = T extends { type: 'memory' } ? MemoryPort : Port;
