// What is wanted of the rows of control.mjs: at least, and aimed at. Those of the rows in memory stand with the rows.

/** `ratio`: the goal is one of the ratio to Open vSwitch, not of the figure itself. */
const goal = (least, aim, { unit = '', ratio = false, less = false } = {}) => {
  const good = (x, limit) => (less ? x <= limit : x >= limit);
  const word = (x) => (good(x, aim) ? 'aim' : good(x, least) ? 'met' : 'short');
  const wanted = `${least}${unit} / ${aim}${unit}`;
  return { ratio, text: (x) => (Number.isFinite(x) ? `${wanted}: ${word(x)}` : wanted) };
};
const times = (least, aim) => goal(least, aim, { unit: '×', ratio: true });

export const controlGoals = {
  'apply(), flows as text': times(9, 25),
  'apply(), flows as objects': times(9, 25),
  'new five-tuples to flows in force': times(1, 3),
  '1,000 established five-tuples under attack: share of their rate without': goal(0.9, 1),
  '100,000 established five-tuples under attack: share of their rate without': goal(0.9, 1),
  'burst of 50,000 new five-tuples: until established flows are at 90 % again': goal(1_000, 0, {
    unit: ' ms',
    less: true,
  }),
  'burst of 50,000 new five-tuples: forwarded of what the queue took': goal(100, 100, {
    unit: ' %',
  }),
  'two PMD threads against one': goal(1.9, 2),
  'addPort() memory, at rest': times(10, 50),
  'deletePort() memory, at rest': times(10, 50),
  'packets lost meanwhile': goal(0, 0, { less: true }),
  'idle PMD thread: share of its core': goal(1, 0.1, { unit: ' %', less: true }),
  'first packet after 5 ms of idleness': goal(60, 15, { unit: ' µs', less: true }),
};

/**
 * On veth and tap: [name, what, offloads] of ours and of the other's figure; `wanted`: the ratio, at least and aimed at; without
 * another, the figure itself, at most. `less`: less is better.
 */
export const vethGoals = [
  {
    text: 'af_packet forwarding',
    ours: ['Pollux af_packet', 'flood'],
    theirs: ['OVS system', 'flood'],
    wanted: [1.8, 2.8],
  },
  {
    text: 'af_packet forwarding',
    ours: ['Pollux af_packet', 'flood'],
    theirs: ['testpmd net_af_packet', 'flood'],
    wanted: [1, 1.5],
  },
  {
    text: 'af_xdp forwarding',
    ours: ['Pollux af_xdp', 'flood'],
    theirs: ['OVS afxdp', 'flood'],
    wanted: [1, 1.3],
  },
  {
    text: 'af_xdp forwarding',
    ours: ['Pollux af_xdp', 'flood'],
    theirs: ['testpmd net_af_xdp', 'flood'],
    wanted: [1, 1.3],
  },
  {
    text: 'hot flows, offloaded to the XDP program',
    ours: ['Pollux af_xdp, flows offloaded', 'flood'],
    theirs: ['OVS afxdp', 'flood'],
    wanted: [3, 4.2],
  },
  {
    text: 'hot flows, offloaded to the XDP program',
    ours: ['Pollux af_xdp, flows offloaded', 'flood'],
    theirs: ['kernel bridge', 'flood'],
    wanted: [5, 6.5],
  },
  {
    text: 'TCP, offloads and merging on, against the best of userspace without',
    ours: ['Pollux af_packet', 'tcp', 'on'],
    theirs: ['testpmd net_af_xdp', 'tcp', 'off'],
    wanted: [2.5, 5],
  },
  {
    text: 'TCP, offloads on for both',
    ours: ['Pollux af_packet', 'tcp', 'on'],
    theirs: ['kernel bridge', 'tcp', 'on'],
    wanted: [0.5, 1],
  },
  {
    text: 'ping, median; a thread that stays awake',
    ours: ['Pollux af_packet, awake', 'rtt'],
    theirs: ['OVS system', 'rtt'],
    less: true,
    wanted: [2, 3.3],
  },
  {
    text: 'ping, median; a thread that stays awake',
    ours: ['Pollux af_packet, awake', 'rtt'],
    theirs: ['testpmd net_af_packet', 'rtt'],
    less: true,
    wanted: [0.83, 1],
  },
  {
    text: 'af_packet, lost at 300 k/s, %',
    ours: ['Pollux af_packet', 'loss at 300 k'],
    wanted: [0, 0],
  },
  { text: 'af_xdp, lost at 300 k/s, %', ours: ['Pollux af_xdp', 'loss at 300 k'], wanted: [0, 0] },
  { text: 'af_xdp, lost at 500 k/s, %', ours: ['Pollux af_xdp', 'loss at 500 k'], wanted: [0, 0] },
  {
    text: 'af_xdp port added beside a flow, ms',
    ours: ['Pollux af_xdp', 'add beside a flow'],
    wanted: [50, 30],
  },
  {
    text: 'silence of that flow, ms',
    ours: ['Pollux af_xdp', 'silence of that flow'],
    wanted: [1, 0.3],
  },
  {
    text: 'addPort() af_packet',
    ours: ['Pollux af_packet', 'add'],
    theirs: ['OVS system', 'add'],
    less: true,
    wanted: [2, 5],
  },
  {
    text: 'deletePort() af_packet',
    ours: ['Pollux af_packet', 'delete'],
    theirs: ['OVS system', 'delete'],
    less: true,
    wanted: [2, 5],
  },
  { text: 'tap', ours: ['Pollux tap', 'flood'], theirs: ['OVS tap', 'flood'], wanted: [1.5, 3] },
];
