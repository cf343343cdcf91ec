// Access ports of VLANs on one side, a trunk on the other: frames get their tag on the way in to the trunk and lose it on the
// way out. One access port a VLAN.
//
//   sudo node examples/vlan-access.ts eth0 eth1=10 eth2=20      trunk, then access port = VLAN
//
// Access ports cannot reach each other, and what arrives at one with a tag is dropped: no flow is for it, and nobody
// handles upcalls.
import { Datapath, type FlowSpec } from 'pollux';

const memory = process.argv[2] === '--memory';
const [trunk, ...access] = process.argv.slice(memory ? 3 : 2);
const vlans = access.map((text) => {
  const [name = '', vid] = text.split('=');
  return { name, vid: Number(vid) };
});
if (trunk === undefined || vlans.length === 0) {
  throw new Error('name the trunk, then each access port with its VLAN: eth1=10');
}

const type = memory ? 'memory' : 'af_packet';
const flows = vlans.flatMap(({ name, vid }): FlowSpec[] => [
  {
    match: { inPort: name },
    actions: [
      { type: 'pushVlan', vid },
      { type: 'output', port: trunk },
    ],
  },
  {
    match: { inPort: trunk, vlan: { vid } },
    actions: [{ type: 'popVlan' }, { type: 'output', port: name }],
  },
]);

export const dp = await Datapath.open({
  name: 'vlan-access',
  maxIdleMs: 0, // the flows stay, used or not
  ports: [trunk, ...vlans.map(({ name }) => name)].map((name) => ({ name, type })),
  flows,
});

dp.on('error', (error) => console.error(error));
process.once('SIGINT', () => dp.close());
console.log(`${vlans.length} VLANs on ${trunk}; Ctrl-C ends it`);
