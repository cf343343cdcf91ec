// PortIndex: the ports of a datapath by name and by number. Control's own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "datapath/port.h"

namespace pollux {

class PortIndex {
 public:
  void Add(Port& port) {
    by_name_[port.name] = &port;
    by_number_[static_cast<std::uint32_t>(port.number)] = &port;
  }
  void Remove(const Port& port) {
    const auto number = static_cast<std::uint32_t>(port.number);
    by_name_.erase(port.name);
    by_number_.erase(number);
    if (number != 0) taken_below_ = std::min(taken_below_, number);
  }

  // nullptr: there is none.
  Port* Find(const std::string& name) const { return In(by_name_, name); }
  Port* Find(std::uint32_t number) const { return In(by_number_, number); }
  // The least number from 1 on that no port has.
  std::uint32_t FreeNumber() {
    while (by_number_.contains(taken_below_)) ++taken_below_;
    return taken_below_;
  }

 private:
  template <typename Map, typename Key>
  static Port* In(const Map& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : found->second;
  }

  std::unordered_map<std::string, Port*> by_name_;
  std::unordered_map<std::uint32_t, Port*> by_number_;
  // All numbers from 1 up to here, exclusive, are taken: so that who asks need not look again.
  std::uint32_t taken_below_ = 1;
};

}  // namespace pollux
