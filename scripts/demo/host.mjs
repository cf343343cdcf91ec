// The process of one host: does what its lab asks for, in a network namespace of its own. See lab.mjs.
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const children = new Set();

process.on('disconnect', () => {
  for (const child of children) child.kill('SIGKILL');
  process.exit();
});
// Ctrl-C is for the lab's process.
process.on('SIGINT', () => {});

const kChunk = 1 << 20;
const kSocketBuffer = 1 << 20;
/** Bytes sent so far by transfers under way, by name; and those asked to stop. */
const transfers = new Map();

const verbs = {
  async run({ command, args, timeout = 20_000 }) {
    const { stdout } = await execute(command, args, { timeout });
    return stdout;
  },

  /** { sent, received, rtts } (milliseconds), when the last intact reply is in or has been waited for. */
  ping({ to, count, interval = 0.01, size = 56, args = [] }) {
    return new Promise((resolve, reject) => {
      const options = ['-n', '-c', count, '-i', interval, '-s', size, '-W', 2, ...args, to];
      const child = spawn('ping', options.map(String), { stdio: ['ignore', 'pipe', 'pipe'] });
      children.add(child);
      const rtts = [];
      let summary;
      let damaged = 0;
      let complaint = '';
      child.stderr.on('data', (text) => {
        complaint += text;
      });
      createInterface({ input: child.stdout }).on('line', (line) => {
        const rtt = line.match(/ time=([\d.]+) ms/);
        if (rtt) rtts.push(Number(rtt[1]));
        if (line.startsWith('wrong data byte')) damaged++;
        summary ??= line.match(/^(\d+) packets transmitted, (\d+) received/);
      });
      child.on('error', reject);
      child.on('close', (code) => {
        children.delete(child);
        const [sent, received] = summary?.slice(1).map(Number) ?? [];
        if (summary) resolve({ sent, received: received - damaged, rtts });
        else reject(new Error(`ping ended with ${code}: ${complaint.trim()}`));
      });
    });
  },

  /**
   * A server that takes whatever comes, and answers at the end with how much it was and its SHA-256. Returns its port.
   * It lives as long as the host.
   */
  serve({ family = 4 } = {}) {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      const hash = createHash('sha256');
      let bytes = 0;
      socket.on('data', (chunk) => {
        bytes += chunk.length;
        hash.update(chunk);
      });
      socket.on('end', () => socket.end(JSON.stringify({ bytes, sha256: hash.digest('hex') })));
      socket.on('error', () => socket.destroy());
    });
    return new Promise((resolve, reject) => {
      server.on('error', reject);
      server.listen(0, family === 6 ? '::' : '0.0.0.0', () => resolve(server.address().port));
    });
  },

  /**
   * Sends `bytes`, or until 'finish' is called with the same name. { bytes, seconds, equal }: sent; how long until the
   * answer; whether the server has got the very same.
   */
  async transfer({
    name = 'transfer',
    to,
    port,
    bytes = Number.POSITIVE_INFINITY,
    timeout = 60_000,
  }) {
    const state = { sent: 0, finish: false };
    transfers.set(name, state);
    const socket = net.connect({ host: to, port, allowHalfOpen: true });
    socket.setTimeout(timeout, () => socket.destroy(new Error(`no progress in ${timeout} ms`)));
    const answer = (async () => {
      let text = '';
      for await (const chunk of socket) text += chunk;
      return JSON.parse(text);
    })();
    answer.catch(() => {}); // told below
    // The same random bytes again and again, each time with another start, so that no two chunks are equal.
    const chunk = randomBytes(kChunk);
    const hash = createHash('sha256');
    const start = performance.now();
    while (state.sent < bytes && !state.finish) {
      const part = Buffer.from(chunk.subarray(0, Math.min(kChunk, bytes - state.sent)));
      if (part.length >= 8) part.writeDoubleLE(state.sent, 0);
      hash.update(part);
      state.sent += part.length;
      if (!socket.write(part)) {
        await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), answer]);
      }
    }
    socket.end();
    const got = await answer;
    transfers.delete(name);
    return {
      bytes: state.sent,
      seconds: (performance.now() - start) / 1000,
      equal: got.bytes === state.sent && got.sha256 === hash.digest('hex'),
    };
  },
  progress({ name = 'transfer' } = {}) {
    return transfers.get(name)?.sent;
  },
  finish({ name = 'transfer' } = {}) {
    const state = transfers.get(name);
    if (state !== undefined) state.finish = true;
  },

  /** A server that sends every datagram back. Returns its port. It lives as long as the host. */
  async echo({ family = 4 } = {}) {
    const socket = createSocket({ type: `udp${family}`, recvBufferSize: kSocketBuffer });
    socket.on('message', (datagram, { port, address }) => socket.send(datagram, port, address));
    socket.bind(0);
    await once(socket, 'listening');
    return socket.address().port;
  },

  /**
   * Sends a datagram of random bytes of each size to an echo(), some at a time, and waits for each to come back. How many
   * did, unchanged, within two seconds of the last.
   */
  async datagrams({ to, port, family = 4, sizes, window = 8 }) {
    const socket = createSocket({ type: `udp${family}`, recvBufferSize: kSocketBuffer });
    socket.connect(port, to);
    await once(socket, 'connect');
    const waiting = new Map();
    let returned = 0;
    await new Promise((resolve, reject) => {
      const patience = setTimeout(resolve, 2_000);
      let next = 0;
      const fill = () => {
        while (waiting.size < window && next < sizes.length) {
          // Known again by their first bytes.
          const datagram = randomBytes(sizes[next++]);
          datagram.writeUInt32BE(next, 0);
          waiting.set(next, datagram);
          socket.send(datagram);
        }
        if (waiting.size === 0) resolve(clearTimeout(patience));
      };
      socket.on('message', (datagram) => {
        const number = datagram.readUInt32BE(0);
        if (!waiting.get(number)?.equals(datagram)) return;
        waiting.delete(number);
        returned++;
        patience.refresh();
        fill();
      });
      socket.on('error', reject);
      fill();
    });
    socket.close();
    return returned;
  },

  /** TCP's counters of this namespace, e.g. RetransSegs. */
  tcpCounters() {
    const counters = {};
    for (const file of ['/proc/net/snmp', '/proc/net/netstat']) {
      // A line of names, then a line of values, each after "Tcp:" or "TcpExt:".
      const lines = readFileSync(file, 'utf8').split('\n');
      const [names, values] = lines.filter((line) => /^Tcp(Ext)?:/.test(line));
      const numbers = values.split(' ').map(Number);
      for (const [i, name] of names.split(' ').entries()) if (i > 0) counters[name] = numbers[i];
    }
    return counters;
  },
};

process.on('message', async ({ call, verb, argument }) => {
  let answer;
  try {
    answer = { call, result: await verbs[verb](argument) };
  } catch (error) {
    answer = { call, error: `${error.message} ${error.stderr ?? ''}`.trim() };
  }
  if (process.connected) process.send(answer);
});
process.send('ready');
