// An Ethernet switch that learns: who is behind which port, from the packets that pass.
//
//   sudo node examples/learning-switch.ts eth1 eth2 eth3      (Node 22.18 or newer runs TypeScript)
//
// A packet without a flow comes here once. If its destination is known, a flow takes over and the
// next packets never leave the core; if not, it goes out of all other ports. Flows that fall silent
// disappear by themselves after ten seconds.
import { Datapath, type FlowMatch, type Port } from 'pollux';

const [type, ...names] =
  process.argv[2] === '--memory'
    ? ['memory', ...process.argv.slice(3)]
    : ['af_packet', ...process.argv.slice(2)];
if (names.length < 2) throw new Error('name at least two interfaces');

export const dp = await Datapath.open({
  name: 'switch',
  ports: names.map((name) => ({ name, type: type as 'af_packet' | 'memory' })),
});

const learned = new Map<string, Port>();

dp.onUpcall((batch) => {
  for (const packet of batch) {
    const eth = packet.key.eth as { src: string; dst: string };
    learned.set(eth.src, packet.inPort);
    const to = learned.get(eth.dst);
    if (to === undefined) {
      const others = [...dp.ports.values()].filter((port) => port !== packet.inPort);
      packet.execute(others.map((port) => ({ type: 'output', port })));
    } else {
      const match: FlowMatch = { inPort: packet.inPort, eth, vlan: packet.key.vlan };
      packet.install(to === packet.inPort ? 'drop' : [{ type: 'output', port: to }], { match });
    }
  }
});

process.once('SIGINT', () => dp.close());
console.log(`switching between ${names.join(', ')}; Ctrl-C ends it`);
