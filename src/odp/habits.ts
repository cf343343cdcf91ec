/**
 * What those write who know the flows of a bridge (`ovs-ofctl add-flow`) and not those of a datapath: how
 * it is said here.
 */

/** In a match: a field with "=", or a protocol by its name. */
const kFields: Readonly<Record<string, string>> = {
  in_port: 'in_port(left)',
  dl_src: 'eth(src=02:00:00:00:00:01)',
  dl_dst: 'eth(dst=02:00:00:00:00:01)',
  dl_type: 'eth_type(0x0800)',
  dl_vlan: 'eth_type(0x8100),vlan(vid=5),encap()',
  vlan_vid: 'eth_type(0x8100),vlan(vid=5),encap()',
  nw_src: 'eth_type(0x0800),ipv4(src=10.0.0.1)',
  nw_dst: 'eth_type(0x0800),ipv4(dst=10.0.0.1)',
  nw_proto: 'eth_type(0x0800),ipv4(proto=6)',
  ip_proto: 'eth_type(0x0800),ipv4(proto=6)',
  nw_tos: 'eth_type(0x0800),ipv4(tos=0)',
  nw_ttl: 'eth_type(0x0800),ipv4(ttl=64)',
  tp_src: 'eth_type(0x0800),ipv4(proto=6),tcp(src=80)',
  tp_dst: 'eth_type(0x0800),ipv4(proto=6),tcp(dst=80)',
  tcp_src: 'eth_type(0x0800),ipv4(proto=6),tcp(src=80)',
  tcp_dst: 'eth_type(0x0800),ipv4(proto=6),tcp(dst=80)',
  udp_src: 'eth_type(0x0800),ipv4(proto=17),udp(src=53)',
  udp_dst: 'eth_type(0x0800),ipv4(proto=17),udp(dst=53)',
  ipv6_src: 'eth_type(0x86dd),ipv6(src=2001:db8::1)',
  ipv6_dst: 'eth_type(0x86dd),ipv6(dst=2001:db8::1)',
  ip: 'eth_type(0x0800)',
  ipv6: 'eth_type(0x86dd)',
  arp: 'eth_type(0x0806)',
  tcp: 'eth_type(0x0800),ipv4(proto=6)',
  udp: 'eth_type(0x0800),ipv4(proto=17)',
  sctp: 'eth_type(0x0800),ipv4(proto=132)',
  icmp: 'eth_type(0x0800),ipv4(proto=1)',
  tcp6: 'eth_type(0x86dd),ipv6(proto=6)',
  udp6: 'eth_type(0x86dd),ipv6(proto=17)',
  icmp6: 'eth_type(0x86dd),ipv6(proto=58)',
  tun_id: 'tunnel(tun_id=0x5)',
  reg0: 'recirc_id(1), after an action recirc(1)',
};
const kPriority = 'flows have no priority here: make them disjoint';
const kActionsApart = 'actions are an argument of their own';

/** A hint for what stands in a match as a word that is no group, or has no "(" behind it. */
export function habitOfMatch(word: string): string | undefined {
  const name = word.toLowerCase();
  if (name === 'priority') return kPriority;
  if (name === 'actions' || name.startsWith('actions:')) return kActionsApart;
  if (name === 'table' || name === 'cookie') return `there is no ${name} here`;
  return Object.hasOwn(kFields, name) ? `here it is written ${kFields[name]}` : undefined;
}

/** In actions: NAME, or NAME:ARGUMENT. */
const kActions: Readonly<Record<string, (argument: string) => string>> = {
  output: (port) => `an output is the port alone: ${port === '' ? 'left' : port}`,
  in_port: () => 'an output is the port alone, by name or number',
  mod_vlan_vid: (vid) => `here it is written push_vlan(vid=${vid || 5},pcp=0)`,
  strip_vlan: () => 'here it is written pop_vlan',
  mod_dl_src: (mac) => `here it is written set(eth(src=${mac}))`,
  mod_dl_dst: (mac) => `here it is written set(eth(dst=${mac}))`,
  mod_nw_src: (address) => `here it is written set(ipv4(src=${address}))`,
  mod_nw_dst: (address) => `here it is written set(ipv4(dst=${address}))`,
  mod_tp_src: (port) => `here it is written set(tcp(src=${port || 80})) or set(udp(…))`,
  mod_tp_dst: (port) => `here it is written set(tcp(dst=${port || 80})) or set(udp(…))`,
  set_field: () => 'here it is written set(GROUP(FIELD=VALUE)), as in set(ipv4(ttl=9))',
  controller: () => 'here it is written userspace(pid=0): the packet goes to the upcall handler',
  normal: () => 'there is no learning switch inside: examples/learning-switch.ts is one',
  flood: () => 'name the ports: left,right',
  all: () => 'name the ports: left,right',
  group: () => 'there are no groups here: name the ports',
  resubmit: () => 'there are no tables here: recirc(1), and flows with recirc_id(1)',
  goto_table: () => 'there are no tables here: recirc(1), and flows with recirc_id(1)',
};

/** A hint for a word that is no action and no port. */
export function habitOfActions(word: string): string | undefined {
  const colon = word.indexOf(':');
  const name = (colon < 0 ? word : word.slice(0, colon)).toLowerCase();
  const argument = colon < 0 ? '' : word.slice(colon + 1);
  return Object.hasOwn(kActions, name) ? kActions[name]!(argument) : undefined;
}
