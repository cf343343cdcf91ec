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
