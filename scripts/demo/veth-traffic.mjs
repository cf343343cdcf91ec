// Two hosts in namespaces, and what they say to each other: ping without a pause, and one long TCP transfer.
import { Host, ip, prepareNamespace } from './lab.mjs';

const kPingsPerSecond = 100;

class VethTraffic {
  left = { name: 'left', type: 'af_packet' };
  right = { name: 'right', type: 'af_packet' };
  spareDevices = ['spare0', 'spare1', 'spare2'];
  picture = `
  left 192.0.2.1 ── veth ──[ Pollux ]── veth ── right 192.0.2.2

  Three network namespaces; the outer two can reach each other only through Pollux, which polls
  packet sockets in the middle one. veth offloads are at their defaults.
`;
  #hosts = [];
  #pings = { sent: 0, received: 0, rtts: [] };
  #finishing = false;
  #pinging;
  #transfer;
  #sent = 0;

  async prepare() {
    prepareNamespace();
    this.#hosts.push(await Host.start('left', 1));
    this.#hosts.push(await Host.start('right', 2));
    for (const device of this.spareDevices) {
      await ip(`link add ${device} type veth peer name ${device}p`);
      await ip(`link set ${device} up`);
      await ip(`link set ${device}p up`);
    }
    const [left, right] = this.#hosts;
    const { received } = await left.call('ping', {
      to: right.ipv4,
      count: 1,
      interval: 1,
      args: ['-w', 1],
    });
    if (received > 0) throw new Error('the hosts reach each other without Pollux');
    await left.ip('neigh flush dev eth0'); // else it waits up to a second before it asks again
    return '  Pollux is not there yet: ping gets no answer. Now it opens its ports.\n';
  }

  async start() {
    const [left, right] = this.#hosts;
    const port = await right.call('serve');
    this.#transfer = left.call('transfer', { to: right.ipv4, port });
    this.#transfer.catch(() => {}); // told by finish()
    this.#pinging = this.#ping(left, right);
    this.#pinging.catch(() => {});
  }

  /** Second after second. Each program waits for its last reply, so that what is missing is lost. */
  async #ping(left, right) {
    while (!this.#finishing) {
      const { sent, received, rtts } = await left.call('ping', {
        to: right.ipv4,
        count: kPingsPerSecond,
        interval: 1 / kPingsPerSecond,
      });
      this.#pings.sent += sent;
      this.#pings.received += received;
      this.#pings.rtts.push(...rtts);
      this.#sent = (await left.call('progress')) ?? this.#sent;
    }
  }

  progress() {
    return { pings: this.#pings, bytes: this.#sent };
  }

  async finish() {
    this.#finishing = true;
    await this.#pinging;
    const [left] = this.#hosts;
    await left.call('finish');
    const tcp = await this.#transfer;
    const { RetransSegs, TCPDSACKRecv } = await left.call('tcpCounters');
    // "Needlessly": the other side says that it had the segment. Packets may overtake each other when their queue moves to
    // another core.
    const again = { retransmitted: RetransSegs, needlessly: TCPDSACKRecv };
    return { pings: this.#pings, tcp: { ...tcp, ...again } };
  }

  async close() {
    await Promise.all(this.#hosts.map((host) => host.stop()));
  }
}

export const vethTraffic = () => new VethTraffic();
