// The queue of upcalls by itself.
#include "forwarding/upcall_queue.h"

#include <doctest/doctest.h>

#include <vector>

#include "packet/packet.h"

namespace pollux::test {
namespace {

struct Queue {
  bool Park(bool scarce = false) {
    Upcall upcall;
    upcall.packet = pool.Allocate(60);
    upcall.packet->in_port = PortNumber{1};
    const bool parked = queue.Park(0, upcall, scarce);
    queue.Wake();
    return parked;
  }

  PacketPool pool;
  int woken = 0;
  UpcallQueue queue{200, [this] { ++woken; }};
};

}  // namespace

TEST_CASE("upcall queue: a consumer that comes is woken, whoever was woken before it") {
  Queue at;
  at.queue.SetConsumer(true);
  std::vector<Upcall> taken;
  (void)at.queue.Take(10, taken);
  at.queue.SetConsumer(false);
  // A thread that saw the last consumer.
  REQUIRE(at.Park());
  const int before = at.woken;
  at.queue.SetConsumer(true);
  CHECK(at.woken == before + 1);
  (void)at.queue.Take(10, taken);
  CHECK(taken.size() == 1);
  at.queue.Answered(PortNumber{1});
  CHECK(at.queue.queued() == 0);
}

TEST_CASE("upcall queue: when memory is scarce, a port parks a few packets only") {
  Queue at;
  int parked = 0;
  while (at.Park(true)) ++parked;
  CHECK(parked == UpcallQueue::kScarceLimit);
  while (at.Park()) ++parked;
  CHECK(parked == 200);
}

}  // namespace pollux::test
