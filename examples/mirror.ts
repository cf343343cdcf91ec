// Two ports joined, and a copy of all that passes between them for a third.
//
//   sudo node examples/mirror.ts eth1 eth2 tap9      then: tcpdump -i tap9
//
// The third is a tap that this program makes. Frames are copied once per output; a slow reader of the tap loses copies,
// never the traffic.
import { Datapath, type FlowSpec } from 'pollux';

const memory = process.argv[2] === '--memory';
const [left, right, mirror] = process.argv.slice(memory ? 3 : 2);
if (left === undefined || right === undefined || mirror === undefined) {
  throw new Error('name two interfaces, and the tap to make');
}

/** All that comes in at a port, tagged or not: a match without `vlan` would be for untagged frames alone. */
const joined = (from: string, to: string): FlowSpec => ({
  match: { inPort: from, vlan: { any: true } },
  actions: `${to},${mirror}`,
});

export const dp = await Datapath.open({
  name: 'mirror',
  maxIdleMs: 0, // the flows stay, used or not
  ports: [
    { name: left, type: memory ? 'memory' : 'af_packet' },
    { name: right, type: memory ? 'memory' : 'af_packet' },
    { name: mirror, type: memory ? 'memory' : 'tap' },
  ],
  flows: [joined(left, right), joined(right, left)],
});

dp.on('error', (error) => console.error(error));
process.once('SIGINT', () => dp.close());
console.log(`${left} and ${right} are joined, ${mirror} sees both; Ctrl-C ends it`);
