// What goes wrong with a port in silence: frames that its device refuses or loses, and what was
// asked for and not obtained. The program is told, at most once a second and port.
//
// Frames that are lost on the way out are none of it: they are packets of ours, which are dropped
// for a reason, and a device that takes no more is what congestion looks like.
#include <algorithm>
#include <string_view>
#include <utility>

#include "datapath/datapath_impl.h"

namespace pollux {

void Datapath::Impl::TellOfTrouble(Port& port) {
  Event event{Event::Kind::kPortTrouble};
  event.port = port.id;
  const std::vector<const char*> troubles = port.netdev->troubles();
  const auto is_in = [](const std::vector<const char*>& list, std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  };
  // What is over may come again.
  std::erase_if(port.told_troubles, [&](const char* word) { return !is_in(troubles, word); });
  for (const char* word : troubles) {
    if (is_in(port.told_troubles, word)) continue;
    port.told_troubles.push_back(word);
    event.text = word;
    return Emit(std::move(event));  // The others in a second.
  }
  // Who hands frames to a port of this type is told at once what became of them.
  if (port.type == "memory") return;
  const NetdevStats stats = port.netdev->stats();
  const NetdevStats told = std::exchange(port.told, stats);
  event.dropped = stats.rx_dropped - told.rx_dropped;
  event.errors = stats.rx_errors - told.rx_errors;
  if (event.dropped == 0 && event.errors == 0) return;
  event.text = "rxDropped";
  std::uint64_t most = 0;
  for (std::size_t i = 0; i < kRxErrors; ++i) {
    const std::uint64_t rose = stats.rx_errors_by[i] - told.rx_errors_by[i];
    if (rose <= most) continue;
    most = rose;
    event.text = kRxErrorText[i];
  }
  Emit(std::move(event));
}

}  // namespace pollux
