// In place of the two hosts: a program that hands numbered frames to one memory port and takes them from the other, both ways.
import { createHash, randomBytes } from 'node:crypto';

const kFrames = 32; // a batch
const kFrameSize = 1_000;
const kInFlight = 512; // less than a queue holds

/** One direction. */
class Stream {
  sent = 0;
  received = 0;
  bytes = 0;
  outOfOrder = 0;
  #from;
  #to;
  #hashes = [createHash('sha256'), createHash('sha256')];
  #payload = randomBytes(kFrameSize);

  constructor(from, to) {
    this.#from = from;
    this.#to = to;
  }

  send() {
    if (this.sent - this.received > kInFlight) return;
    const frames = Array.from({ length: kFrames }, (_, i) => {
      const frame = Buffer.from(this.#payload);
      frame.writeUInt16BE(0x88b5, 12); // an Ethernet type for experiments
      frame.writeUInt32BE(this.sent + i, 14);
      return frame;
    });
    const taken = this.#from.inject(frames);
    for (const frame of frames.slice(0, taken)) this.#hashes[0].update(frame);
    this.sent += taken;
  }

  receive() {
    for (const frame of this.#to.drain()) {
      if (frame.readUInt32BE(14) !== this.received) this.outOfOrder++;
      this.#hashes[1].update(frame);
      this.received++;
      this.bytes += frame.length;
    }
  }

  equal() {
    const [sent, received] = this.#hashes.map((hash) => hash.digest('hex'));
    return sent === received;
  }
}

class MemoryTraffic {
  left = { name: 'left', type: 'memory' };
  right = { name: 'right', type: 'memory' };
  spareDevices = [];
  picture = `
  the program ── memory port ──[ Pollux ]── memory port ── the program
`;
  #datapath;
  #streams = [];
  #timer;
  #start = 0;

  async prepare() {}

  async start(datapath) {
    const [left, right] = ['left', 'right'].map((name) => datapath.ports.get(name));
    this.#datapath = datapath;
    this.#streams = [new Stream(left, right), new Stream(right, left)];
    this.#start = performance.now();
    this.#timer = setInterval(() => {
      for (const stream of this.#streams) {
        stream.receive();
        stream.send();
      }
    }, 1);
  }

  progress() {
    const sum = (key) => this.#streams.reduce((total, stream) => total + stream[key], 0);
    const frames = { sent: sum('sent'), received: sum('received'), outOfOrder: sum('outOfOrder') };
    return { frames, bytes: sum('bytes') };
  }

  async finish() {
    clearInterval(this.#timer);
    await this.#datapath.settle();
    for (const stream of this.#streams) stream.receive();
    const { frames, bytes } = this.progress();
    const equal = this.#streams.map((stream) => stream.equal()).every(Boolean);
    return { frames, stream: { bytes, equal, seconds: (performance.now() - this.#start) / 1000 } };
  }

  async close() {
    clearInterval(this.#timer);
  }
}

export const memoryTraffic = () => new MemoryTraffic();
