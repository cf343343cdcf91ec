// The windows of one figure, and what is said of them.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

export class Series {
  #values = [];

  static of(values) {
    const series = new Series();
    for (const value of values) series.add(value);
    return series;
  }
  add(value) {
    this.#values.push(value);
  }
  summary() {
    const values = this.#values;
    return {
      median: median(values),
      min: Math.min(...values),
      max: Math.max(...values),
      n: values.length,
    };
  }
}
