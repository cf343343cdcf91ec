// What the benchmarks share: options, pinning, windows and their median, one JSON object a line.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace pollux::bench {

[[noreturn]] inline void Fail(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

// --name=value, decimal; no other form.
class Options {
 public:
  Options(int argc, char** argv) : arguments_(argv + 1, argv + argc) {}
  std::uint64_t Number(std::string_view name, std::uint64_t otherwise) const {
    const std::string text = Text(name, "");
    if (text.empty()) return otherwise;
    char* end = nullptr;
    const std::uint64_t value = std::strtoull(text.c_str(), &end, 10);
    if (*end != '\0') Fail("not a number: " + text);
    return value;
  }
  std::string Text(std::string_view name, std::string_view otherwise) const {
    for (const std::string& argument : arguments_) {
      const std::size_t equals = argument.find('=');
      if (argument.starts_with("--") && equals != std::string::npos &&
          std::string_view(argument).substr(2, equals - 2) == name) {
        return argument.substr(equals + 1);
      }
    }
    return std::string(otherwise);
  }

 private:
  const std::vector<std::string> arguments_;
};

// The cores this process may use, as it was started: asked before anybody pins anything.
inline std::vector<std::uint32_t> AllowedCores() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) Fail("sched_getaffinity failed");
  std::vector<std::uint32_t> cores;
  for (std::uint32_t i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &cpus)) cores.push_back(i);
  }
  return cores;
}
// The calling thread, and threads it makes from now on.
inline void Pin(const std::vector<std::uint32_t>& cores) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const std::uint32_t core : cores) CPU_SET(core, &cpus);
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) Fail("cannot pin to a core");
}
inline void Pin(std::uint32_t core) { Pin(std::vector<std::uint32_t>{core}); }

inline void SleepMs(std::uint64_t ms) { usleep(static_cast<useconds_t>(ms * 1000)); }

// The windows of one figure.
class Windows {
 public:
  void Add(double value) { values_.push_back(value); }
  std::size_t size() const { return values_.size(); }
  double min() const { return *std::min_element(values_.begin(), values_.end()); }
  double max() const { return *std::max_element(values_.begin(), values_.end()); }
  double median() const {
    const std::vector<double> sorted = Sorted();
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 != 0 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  double p99() const { return Sorted()[values_.size() * 99 / 100]; }

 private:
  std::vector<double> Sorted() const {
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }
  std::vector<double> values_;
};

// One line of output: an object of texts and numbers. Texts are our own and need no escaping.
class Row {
 public:
  Row& Put(const char* name, std::string_view text) {
    return Raw(name, std::string("\"").append(text).append("\""));
  }
  Row& Put(const char* name, const char* text) { return Put(name, std::string_view(text)); }
  Row& Put(const char* name, std::uint64_t number) { return Raw(name, std::to_string(number)); }
  Row& Put(const char* name, double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", number);
    return Raw(name, text);
  }
  Row& Put(const Windows& windows) {
    return Put("median", windows.median())
        .Put("min", windows.min())
        .Put("max", windows.max())
        .Put("n", std::uint64_t{windows.size()});
  }
  void Print() const {
    std::printf("{%s}\n", text_.c_str());
    std::fflush(stdout);
  }

 private:
  Row& Raw(const char* name, const std::string& value) {
    if (!text_.empty()) text_ += ",";
    text_.append("\"").append(name).append("\":").append(value);
    return *this;
  }
  std::string text_;
};

// The compiler must believe that `value` is used.
template <typename T>
inline void Use(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

}  // namespace pollux::bench
