// The frames of the packet tables (test/packets): bytes from expressions, by scapy.
//   node scripts/packet-tables.mjs [FILE…]            writes the bytes into the tables, or into these alone
//   node scripts/packet-tables.mjs --check [FILE…]    changes nothing: fails where bytes or checksums are wrong
//   node scripts/packet-tables.mjs --pcap OUT [FILE…] collects the frames in a capture file
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';
import { filesBelow } from './lib/stamp.mjs';
import { scapyPython } from './lib/tools.mjs';

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean' }, pcap: { type: 'string' } },
  allowPositionals: true,
});
const options = [
  ...(values.check ? ['--check'] : []),
  ...(values.pcap ? ['--pcap', resolve(values.pcap)] : []),
];
const tables =
  positionals.length > 0
    ? positionals.map((file) => resolve(file))
    : filesBelow('test/packets', (file) => file.endsWith('.txt'));
const { code } = await run(scapyPython, [inRoot('test/packets/frames.py'), ...options, ...tables], {
  show: 'always',
});
process.exitCode = code;
