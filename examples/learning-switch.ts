// An Ethernet switch that learns: who is behind which port, from the packets that pass.
//
//   sudo node examples/learning-switch.ts eth1 eth2 eth3      (Node 22.18 or newer runs TypeScript)
//
// A packet without a flow comes here once. If its destination is known, a flow takes over and the
// next packets never leave the core; if not, it goes out of all other ports. Flows that fall silent
// disappear by themselves after ten seconds. A host that is heard behind another port has moved: its
// flows go at once, those of others to it included.
import { type Action, Datapath, type Flow, type FlowMatch, type Port, type Ufid } from 'pollux';

const [type, ...names] =
  process.argv[2] === '--memory'
    ? ['memory', ...process.argv.slice(3)]
    : ['af_packet', ...process.argv.slice(2)];
if (names.length < 2) throw new Error('name at least two interfaces');

export const dp = await Datapath.open({
  name: 'switch',
  ports: names.map((name) => ({ name, type: type as 'af_packet' | 'memory' })),
});

/** A host, the port it is behind, and the flows from and to it. */
interface Station {
  readonly port: Port;
  readonly flows: Set<Ufid>;
}
/** By address, the one heard of least recently in front. */
const stations = new Map<string, Station>();
const kMaxStations = 4096;

const endsOf = (flow: Flow) => flow.match.eth as { src: string; dst: string };

/** A station that is gone, or behind another port: what its flows did is wrong now. */
function forget(address: string): void {
  for (const ufid of stations.get(address)?.flows ?? []) {
    const flow = dp.flows.get(ufid);
    dp.flows.delete(ufid);
    if (flow !== undefined) unlist(flow);
  }
  stations.delete(address);
}

function unlist(flow: Flow): void {
  for (const address of Object.values(endsOf(flow))) {
    stations.get(address)?.flows.delete(flow.ufid);
  }
}

function learn(address: string, port: Port): Station | undefined {
  if (Number.parseInt(address, 16) & 1) return undefined; // A group is nobody's source.
  let station = stations.get(address);
  if (station?.port !== port) {
    forget(address);
    station = { port, flows: new Set() };
    const [oldest] = stations.keys();
    if (stations.size === kMaxStations && oldest !== undefined) forget(oldest);
  }
  stations.delete(address);
  stations.set(address, station);
  return station;
}

dp.onUpcall((batch) => {
  for (const packet of batch) {
    const { inPort, key } = packet;
    const eth = key.eth as { src: string; dst: string };
    const from = learn(eth.src, inPort);
    const to = stations.get(eth.dst);
    if (from === undefined || to === undefined) {
      const others = [...dp.ports.values()].filter((port) => port !== inPort);
      packet.execute(others.map((port) => ({ type: 'output', port })));
      continue;
    }
    const match: FlowMatch = { inPort, eth, vlan: key.vlan };
    const actions: Action[] =
      to.port === inPort ? [{ type: 'drop' }] : [{ type: 'output', port: to.port }];
    const ufid = dp.flows.put(match, actions);
    from.flows.add(ufid);
    to.flows.add(ufid);
    packet.execute(actions);
  }
});

dp.on('flowsRemoved', (flows) => flows.forEach(unlist));
dp.on('error', (error) => console.error(error));
process.once('SIGINT', () => dp.close());
console.log(`switching between ${names.join(', ')}; Ctrl-C ends it`);
